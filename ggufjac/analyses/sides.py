"""One prompt on one model, as a side of a comparison: its map's spectrum, what it predicts, what makes that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor

from ggufjac.analyses.decode import Decoder
from ggufjac.analyses.following import LlamaRun, llama_run_of
from ggufjac.analyses.options import MapOptions
from ggufjac.analyses.prediction import (
    TOKENS_PER_VECTOR,
    Prediction,
    Triplet,
    combined_triplets,
    prediction_of,
    top_predictions,
)
from ggufjac.analyses.targets import token_of
from ggufjac.analyses.text import Piece, Speller
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.linear import SVD
from ggufjac.maps.model import Model

#: Tokens of several vectors.
Rows: TypeAlias = "Sequence[tuple[Piece, ...]]"


@dataclass(frozen=True)
class Side:
    """A prompt on a model, both by their numbers in the comparison, from 0.

    target: what it makes of the token that is followed (None: none is, or the vocabulary lacks it). shares: what every
    token's term has of the output, y_t . y / |y|^2; with constant_share they add up to 1. triplets: of the map of all
    tokens together, with their terms of the first prediction's logit. stable_rank: of that map; exact: whether the norm
    in it is, or from random probes. llama: llama.cpp's own run, where the map explains that.
    """

    model: int
    prompt: int
    tokens: tuple[Piece, ...]
    predictions: tuple[Prediction, ...]
    target: Prediction | None
    shares: tuple[float, ...]
    constant_share: float
    triplets: tuple[Triplet, ...]
    stable_rank: float
    exact: bool
    reconstruction: float
    llama: LlamaRun | None = None


@dataclass(frozen=True)
class Worked:
    """A side with the arrays behind it. terms: by token id, the parts of its logit by input token with the constant
    last [T + 1] float64, which add up to it; opinions: what is thought of each of these tokens. written, read: the
    tokens of every triplet as it is signed, and of the same with the opposite sign.
    """

    bench: Bench
    side: Side
    ids: tuple[int, ...]
    output: Tensor
    logits: Tensor
    svd: SVD
    terms: dict[int, Tensor]
    opinions: dict[int, Prediction]
    written: tuple[Rows, Rows]
    read: tuple[Rows, Rows]


class Bench:
    """An open model and what several of its prompts share."""

    def __init__(self, model: Model, options: MapOptions) -> None:
        self.model = model
        self.speller = Speller(model.vocab)
        self._options = options
        self._decoder = Decoder(model.family, options.dtype)

    @cached_property
    def pieces(self) -> list[bytes]:
        """The bytes of every token, by id: what vocabularies are compared by."""
        return self.model.vocab.pieces()

    def same_vocabulary(self, other: Bench) -> bool:
        """Whether every token stands for the same on both."""
        return other is self or self.pieces == other.pieces

    def translate(self, token: int, other: Bench) -> int | None:
        """The other vocabulary's token for what a token of this one stands for; None where it has none."""
        if self.same_vocabulary(other):
            return token
        return token_of(other.model.vocab, other.pieces, self.pieces[token]) if token < len(self.pieces) else None

    def predicted(self, ids: Sequence[int]) -> int:
        """The likeliest next token."""
        return int(self._options.linearize(self.model, ids).logits.argmax())

    def work(
        self, numbers: tuple[int, int], ids: Sequence[int], top: int, targets: Sequence[int], followed: int | None
    ) -> Worked:
        """The side with these numbers (model, prompt), with the terms of the logits of all `targets`."""
        linear = self._options.linearize(self.model, ids)
        y = linear.output
        functionals, offsets = _functionals(linear, targets)
        rows = linear.attribute(torch.cat(((y / (y @ y))[None], functionals))).double().cpu()
        rows[1:, -1] += torch.tensor(offsets, dtype=torch.float64)
        svd = linear.svd(top, "combined", seed=self._options.seed)
        squares, exact = linear.squared_norms(svd, seed=self._options.seed)
        predictions = top_predictions(linear, self.speller)
        first, _ = linear.logit_functional(predictions[0].token.id)
        side = Side(
            model=numbers[0],
            prompt=numbers[1],
            tokens=tuple(self.speller.piece(token) for token in ids),
            predictions=predictions,
            target=None if followed is None else prediction_of(linear, self.speller, followed),
            shares=tuple(rows[0, :-1].tolist()),
            constant_share=float(rows[0, -1]),
            triplets=combined_triplets(linear, first, svd, self._decoder, self.speller),
            stable_rank=float(squares.sum() / svd.S[0].square()),
            exact=exact,
            reconstruction=linear.reconstruction_error(),
            llama=llama_run_of(linear),
        )
        strongest = svd.V[range(len(side.triplets)), [t.position for t in side.triplets]]
        opposite = (self._decoder.writes(-svd.U, TOKENS_PER_VECTOR), self._decoder.reads(-strongest, TOKENS_PER_VECTOR))
        return Worked(
            bench=self,
            side=side,
            ids=tuple(ids),
            output=y.cpu(),
            logits=linear.logits,
            svd=_on_cpu(svd),
            terms=dict(zip(targets, rows[1:], strict=True)),
            opinions={token: prediction_of(linear, self.speller, token) for token in targets},
            written=([t.writes for t in side.triplets], self.speller.rows(opposite[0].ids)),
            read=([t.reads for t in side.triplets], self.speller.rows(opposite[1].ids)),
        )


def _functionals(linear: DetachedMap, targets: Sequence[int]) -> tuple[Tensor, list[float]]:
    """w [m, d] and b [m], so that w . y + b are the logits of the targets."""
    found = [linear.logit_functional(token) for token in targets]
    return torch.stack([w for w, _ in found]), [b for _, b in found]


def _on_cpu(svd: SVD) -> SVD:
    return SVD(svd.U.cpu(), svd.S.cpu(), svd.V.cpu(), svd.residuals.cpu(), svd.exact)
