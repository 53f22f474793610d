"""The main analysis: what is predicted, by which input tokens, through which singular vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ggufjac.analyses.agreement import Agreement
from ggufjac.analyses.decode import Decoder, Nearest
from ggufjac.analyses.facts import ModelFacts, facts_of
from ggufjac.analyses.following import LlamaRun, llama_run_of
from ggufjac.analyses.options import MapOptions
from ggufjac.analyses.result import Result
from ggufjac.analyses.stopwatch import Progress, Stopwatch
from ggufjac.analyses.text import Piece, Speller
from ggufjac.errors import UserError
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.linear import SVD, LinearMap
from ggufjac.maps.model import Model

#: How many predictions and how many tokens of a decoded vector a result keeps.
PREDICTIONS = 10
TOKENS_PER_VECTOR = 8

Which = Literal["each", "combined", "both"]


@dataclass(frozen=True)
class Prediction:
    """A token that the model may say next. rank counts from 1."""

    token: Piece
    logit: float
    probability: float
    rank: int


@dataclass(frozen=True)
class Triplet:
    """sigma u v^T: what it writes (head @ u), what it reads (cosine with v), its residual ||J v - sigma u|| / sigma.

    logit: what it contributes to the target's logit. position: the input token whose part of v is the longest, whose
    part of v was decoded; weight: that part's share of ||v||^2 (1 in a single token's map).
    """

    sigma: float
    residual: float
    logit: float
    position: int
    weight: float
    writes: tuple[Piece, ...]
    reads: tuple[Piece, ...]


@dataclass(frozen=True)
class TokenRow:
    """One input token: its share of the output (y_t . y / |y|^2), its term of the target's logit, its own map."""

    token: Piece
    output_share: float
    logit: float
    stable_rank: float
    triplets: tuple[Triplet, ...]


@dataclass(frozen=True)
class Analysis(Result):
    """One prompt, explained. Shares of the output add up to 1 and logits to the target's logit, constant included.

    norms_exact: whether the stable ranks come from the full map or from random probes. reconstruction: relative error
    of the detached map, ordinary that of the ordinary Jacobian (None: not asked for). agreement: None when llama.cpp
    was not asked, with the reason in agreement_note. llama: llama.cpp's own run, where the map explains that instead of
    exact arithmetic; the output, its logits and the predictions are then llama.cpp's.
    """

    kind: ClassVar[str] = "analysis"
    report: ClassVar[str] = "analysis"

    model: ModelFacts
    prompt: str
    dtype: str
    path: str
    seed: int
    predictions: tuple[Prediction, ...]
    target: Prediction
    tokens: tuple[TokenRow, ...]
    constant_share: float
    constant_logit: float
    combined: tuple[Triplet, ...]
    combined_stable_rank: float
    norms_exact: bool
    reconstruction: float
    ordinary: float | None
    agreement: Agreement | None
    agreement_note: str
    llama_prediction: Piece | None
    seconds: dict[str, float]
    llama: LlamaRun | None = None


@dataclass(frozen=True, kw_only=True)
class Options(MapOptions):
    """top: how many triplets; tokens: of which maps; target: a token id whose logit is attributed (None: the
    prediction); ordinary: the ordinary Jacobian's reconstruction error as well."""

    top: int = 8
    tokens: Which = "both"
    target: int | None = None
    ordinary: bool = False


#: Asked for llama.cpp's opinion once the exact logits are known; None and the reason where it is not to be had.
Judge = Callable[[DetachedMap], "tuple[Agreement | None, str]"]


def analyze(
    model: Model,
    prompt: str | list[int],
    options: Options,
    judge: Judge,
    progress: Progress = lambda _: None,
) -> Analysis:
    """The analysis of one prompt, with the arrays behind it."""
    watch = Stopwatch(progress)
    watch.lap("tokens")
    ids = model.ids_of(prompt)
    speller = Speller(model.vocab)
    if options.target is not None and not 0 <= options.target < model.family.n_vocab:
        raise UserError(f"there is no token {options.target}; the vocabulary has {model.family.n_vocab} tokens, from 0")
    if options.ordinary:
        options.require_derivatives()
    watch.lap("forward pass")
    linear = options.linearize(model, ids)
    predictions = top_predictions(linear, speller)
    target = prediction_of(linear, speller, options.target)
    watch.lap("reconstruction")
    functional, offset = linear.logit_functional(target.token.id)
    y = linear.output
    shares, logits = linear.attribute(torch.stack((y / (y @ y), functional)))
    rebuilt = linear.reconstruction()
    reconstruction = float((rebuilt - y).norm() / y.norm())
    ordinary = None
    if options.ordinary:
        watch.lap("ordinary Jacobian")
        ordinary = model.ordinary(ids, linear.dtype).reconstruction_error()
    watch.lap("singular vectors")
    each = linear.svd(options.top, "each", seed=options.seed) if options.tokens != "combined" else None
    combined = linear.svd(options.top, "combined", seed=options.seed)
    norms, norms_exact = linear.squared_norms(combined, seed=options.seed)
    watch.lap("decoding")
    decoder = Decoder(model.family, linear.dtype)
    rows = _token_rows(linear, shares, logits, functional, each, norms, decoder, speller)
    triplets = combined_triplets(linear, functional, combined, decoder, speller) if options.tokens != "each" else ()
    watch.lap("llama.cpp")
    agreement, note = judge(linear)
    seconds = watch.stop()
    return Analysis(
        model=facts_of(model.file),
        prompt=prompt if isinstance(prompt, str) else model.detokenize(ids),
        dtype=options.dtype_name,
        path=options.path,
        seed=options.seed,
        predictions=predictions,
        target=target,
        tokens=rows,
        constant_share=float(shares[-1]),
        constant_logit=float(logits[-1]) + offset,
        combined=triplets,
        combined_stable_rank=float(norms.sum() / combined.S[0].square()),
        norms_exact=norms_exact,
        reconstruction=reconstruction,
        ordinary=ordinary,
        agreement=agreement,
        agreement_note=note,
        llama_prediction=speller.piece(agreement.theirs) if agreement else None,
        seconds=seconds,
        llama=llama_run_of(linear),
        arrays=_arrays(linear, torch.stack((shares, logits)), rebuilt, each, combined),
    )


def top_predictions(linear: DetachedMap, speller: Speller) -> tuple[Prediction, ...]:
    """The likeliest next tokens, the first one first."""
    probabilities = linear.logits.double().softmax(-1)
    top = linear.logits.topk(min(PREDICTIONS, linear.logits.shape[0])).indices.tolist()
    return tuple(
        Prediction(speller.piece(i), float(linear.logits[i]), float(probabilities[i]), rank)
        for rank, i in enumerate(top, 1)
    )


def prediction_of(linear: DetachedMap, speller: Speller, target: int | None) -> Prediction:
    """What the model thinks of one token as the next; None: of the likeliest."""
    i = int(linear.logits.argmax()) if target is None else target
    logit = linear.logits[i]
    probability = float(linear.logits.double().softmax(-1)[i])
    return Prediction(speller.piece(i), float(logit), probability, int((linear.logits > logit).sum()) + 1)


def _token_rows(
    linear: DetachedMap,
    shares: Tensor,
    logits: Tensor,
    functional: Tensor,
    each: SVD | None,
    norms: Tensor,
    decoder: Decoder,
    speller: Speller,
) -> tuple[TokenRow, ...]:
    own: list[tuple[Triplet, ...]] = [()] * len(linear.tokens)
    ranks = [float("nan")] * len(linear.tokens)
    if each is not None:
        ranks = (norms / each.S[:, 0].square()).tolist()
        # sigma_i (v_i . x_t)(w . u_i): component i of token t
        parts = each.S * torch.einsum("tkn,tn->tk", each.V, linear.inputs) * (each.U @ functional)
        k = each.S.shape[1]
        writes = speller.rows(decoder.writes(each.U.flatten(0, 1), TOKENS_PER_VECTOR).ids)
        reads = speller.rows(decoder.reads(each.V.flatten(0, 1), TOKENS_PER_VECTOR).ids)
        for t in range(len(own)):
            own[t] = tuple(
                Triplet(
                    sigma=float(each.S[t, i]),
                    residual=float(each.residuals[t, i]),
                    logit=float(parts[t, i]),
                    position=t,
                    weight=1.0,
                    writes=writes[t * k + i],
                    reads=reads[t * k + i],
                )
                for i in range(k)
            )
    return tuple(
        TokenRow(speller.piece(token), float(shares[t]), float(logits[t]), ranks[t], own[t])
        for t, token in enumerate(linear.tokens)
    )


def combined_triplets(
    linear: LinearMap, functional: Tensor, svd: SVD, decoder: Decoder, speller: Speller
) -> tuple[Triplet, ...]:
    """The triplets of the combined map, decoded, with what each contributes to a functional of the output [d]."""
    parts = svd.S * torch.einsum("ktn,tn->k", svd.V, linear.inputs) * (svd.U @ functional)
    weights = svd.V.square().sum(-1)
    positions = weights.argmax(-1)
    strongest = svd.V[torch.arange(len(positions)), positions]
    writes: Nearest = decoder.writes(svd.U, TOKENS_PER_VECTOR)
    reads: Nearest = decoder.reads(strongest, TOKENS_PER_VECTOR)
    written, read = speller.rows(writes.ids), speller.rows(reads.ids)
    return tuple(
        Triplet(
            sigma=float(svd.S[i]),
            residual=float(svd.residuals[i]),
            logit=float(parts[i]),
            position=int(positions[i]),
            weight=float(weights[i, positions[i]] / weights[i].sum()),
            writes=written[i],
            reads=read[i],
        )
        for i in range(svd.S.shape[0])
    )


def _arrays(linear: DetachedMap, terms: Tensor, rebuilt: Tensor, each: SVD | None, combined: SVD) -> dict[str, Tensor]:
    arrays = {
        "tokens": torch.tensor(linear.tokens),
        "inputs": linear.inputs,
        "output": linear.output,
        "rebuilt": rebuilt,
        "logits": linear.logits,
        "terms": terms,
        "combined.U": combined.U,
        "combined.S": combined.S,
        "combined.V": combined.V,
    }
    if each is not None:
        arrays |= {"each.U": each.U, "each.S": each.S, "each.V": each.V}
    return arrays
