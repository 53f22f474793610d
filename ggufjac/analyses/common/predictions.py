"""What a model may say next, and the singular triplets that make it say so, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.analyses.common.decoding import Decoder
from ggufjac.analyses.common.tokens import Piece, Speller
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.linear import SVD, LinearMap
from ggufjac.quants.memory.store import DeviceWeights

#: How many predictions and how many tokens of a decoded vector a result keeps.
PREDICTIONS = 10
TOKENS_PER_VECTOR = 8


@dataclass(frozen=True)
class Prediction:
    """A token that the model may say next. probability: by softmax; rank: among all tokens, from 1."""

    token: Piece
    logit: float
    probability: float
    rank: int


@dataclass(frozen=True)
class Triplet:
    """sigma u v^T, with the sign in which u . y >= 0.

    residual: ||J v - sigma u|| / sigma; writes: the tokens with the largest logits head @ u; reads: those whose
    embeddings have the largest cosine with that part of v. logit: what it contributes to the target's logit. position:
    the input token whose part of v is the longest, whose part of v was decoded; weight: that part's share of ||v||^2 (1
    in a single token's map).
    """

    sigma: float
    residual: float
    logit: float
    position: int
    weight: float
    writes: tuple[Piece, ...]
    reads: tuple[Piece, ...]


def top_predictions(logits: Tensor, speller: Speller, n: int = PREDICTIONS) -> tuple[Prediction, ...]:
    """The n likeliest next tokens by their logits [n_vocab], the first one first."""
    probabilities = logits.double().softmax(-1)
    top = logits.topk(min(n, logits.shape[0])).indices.tolist()
    return tuple(
        Prediction(speller.piece(i), float(logits[i]), float(probabilities[i]), rank) for rank, i in enumerate(top, 1)
    )


def prediction_of(logits: Tensor, speller: Speller, target: int | None) -> Prediction:
    """What the model thinks of one token as the next, by the logits [n_vocab]; None: of the likeliest."""
    i = int(logits.argmax()) if target is None else target
    logit = logits[i]
    probability = float(logits.double().softmax(-1)[i])
    return Prediction(speller.piece(i), float(logit), probability, int((logits > logit).sum()) + 1)


def logit_functionals(linear: DetachedMap, targets: Sequence[int]) -> tuple[Tensor, Tensor]:
    """w [m, d] and b [m] float64, so that w . y + b are the logits of the targets."""
    found = [linear.logit_functional(token) for token in targets]
    return torch.stack([w for w, _ in found]), torch.tensor([b for _, b in found], dtype=torch.float64)


def combined_triplets(
    linear: LinearMap,
    functional: Tensor,
    svd: SVD,
    decoder: Decoder,
    speller: Speller,
    store: DeviceWeights | None = None,
) -> tuple[Triplet, ...]:
    """The triplets of the combined map, decoded, with what each contributes to a functional of the output [d]; store:
    where their device has the weights."""
    parts = svd.S * torch.einsum("ktn,tn->k", svd.V, linear.inputs) * (svd.U @ functional)
    weights = svd.V.square().sum(-1)
    positions = weights.argmax(-1)
    strongest = svd.V.take_along_dim(positions[:, None, None], 1)[:, 0]
    written = speller.rows(decoder.writes(svd.U, TOKENS_PER_VECTOR, store).ids)
    read = speller.rows(decoder.reads(strongest, TOKENS_PER_VECTOR, store).ids)
    shares = weights.amax(-1) / weights.sum(-1).clamp(min=torch.finfo(weights.dtype).tiny)
    sigmas, residuals, logits, places, weighed = (x.tolist() for x in (svd.S, svd.residuals, parts, positions, shares))
    return tuple(
        Triplet(
            sigma=sigmas[i],
            residual=residuals[i],
            logit=logits[i],
            position=places[i],
            weight=weighed[i],
            writes=written[i],
            reads=read[i],
        )
        for i in range(len(sigmas))
    )


def token_triplets(
    linear: DetachedMap, functional: Tensor, svd: SVD, decoder: Decoder, speller: Speller
) -> list[tuple[Triplet, ...]]:
    """The same for each token's own map: of every token its triplets."""
    # sigma_i (v_i . x_t)(w . u_i): component i of token t
    parts = svd.S * torch.einsum("tkn,tn->tk", svd.V, linear.inputs) * (svd.U @ functional)
    n_tokens, k = svd.S.shape
    writes = speller.rows(decoder.writes(svd.U.flatten(0, 1), TOKENS_PER_VECTOR, linear.store).ids)
    reads = speller.rows(decoder.reads(svd.V.flatten(0, 1), TOKENS_PER_VECTOR, linear.store).ids)
    sigmas, residuals, logits = (x.tolist() for x in (svd.S, svd.residuals, parts))
    return [
        tuple(
            Triplet(
                sigma=sigmas[t][i],
                residual=residuals[t][i],
                logit=logits[t][i],
                position=t,
                weight=1.0,
                writes=writes[t * k + i],
                reads=reads[t * k + i],
            )
            for i in range(k)
        )
        for t in range(n_tokens)
    ]
