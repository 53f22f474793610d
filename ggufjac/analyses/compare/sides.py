"""One prompt on one model, as a side of a comparison: its map's spectrum, what it predicts, what makes that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor

from ggufjac.analyses.common.decoding import Decoder
from ggufjac.analyses.common.followed import Followed, followed_of
from ggufjac.analyses.common.predictions import (
    TOKENS_PER_VECTOR,
    Prediction,
    Triplet,
    logit_functionals,
)
from ggufjac.analyses.common.stopwatch import Progress, silent
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.common.targets import token_of
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.options import AnalysisOptions
from ggufjac.chat.prompt import PromptLike
from ggufjac.maps.linear import SVD
from ggufjac.maps.model import Model

#: Tokens of several vectors.
Rows: TypeAlias = "Sequence[tuple[Piece, ...]]"


@dataclass(frozen=True)
class ComparedSide:
    """A prompt on a model, both by their numbers in the comparison, from 0.

    model, prompt: by number. target: what it makes of the token that is followed (None: none is, or the vocabulary
    lacks it). shares: what every token's term has of the output, y_t . y / |y|^2; with constant_share they add up to 1.
    triplets: of the map of all tokens together, with their terms of the first prediction's logit. stable_rank: of that
    map; exact: whether the norm in it is, or from random probes. llama: llama.cpp's own run, where the map explains
    that.
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
    llama: Followed | None = None


@dataclass(frozen=True)
class Worked:
    """A side with the arrays behind it. terms: by token id, the parts of its logit by input token with the constant
    last [T + 1] float64, which add up to it; opinions: what is thought of each of these tokens. written, read: the
    tokens of every triplet as it is signed, and of the same with the opposite sign.
    """

    bench: Bench
    side: ComparedSide
    ids: tuple[int, ...]
    output: Tensor
    logits: Tensor
    svd: SVD
    terms: dict[int, Tensor]
    opinions: dict[int, Prediction]
    written: tuple[Rows, Rows]
    read: tuple[Rows, Rows]


class _Within(Progress):
    """How far a step of a larger work has come."""

    def __init__(self, whole: Progress) -> None:
        self._whole = whole

    def passed(self, columns: int) -> None:
        self._whole.passed(columns)


class Bench:
    """An open model and what several of its prompts share."""

    def __init__(self, model: Model, options: AnalysisOptions, progress: Progress = silent) -> None:
        self.model = model
        self._progress = progress
        self._options = options
        self._decoder = Decoder(model.family, options.values_dtype)

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

    def subject(self, prompt: PromptLike) -> Subject:
        """One of its prompts; steps are the comparison's, which tells of them itself."""
        return Subject(self.model, prompt, self._options, _Within(self._progress), self._decoder)

    def work(
        self, numbers: tuple[int, int], subject: Subject, top: int, targets: Sequence[int], followed: int | None
    ) -> Worked:
        """The side with these numbers (model, prompt), with the terms of the logits of all `targets`."""
        linear, seed = subject.linear, self._options.seed
        y = linear.output
        functionals, offsets = logit_functionals(linear, targets)
        rows = linear.attribute(torch.cat(((y / (y @ y))[None], functionals))).cpu().double()
        rows[1:, -1] += offsets
        svd = linear.svd(top, "combined", seed=seed)
        squares, exact = linear.squared_norms(svd, seed=seed)
        predictions = subject.predictions
        first, _ = linear.logit_functional(predictions[0].token.id)
        side = ComparedSide(
            model=numbers[0],
            prompt=numbers[1],
            tokens=subject.pieces,
            predictions=predictions,
            target=None if followed is None else subject.prediction(followed),
            shares=tuple(rows[0, :-1].tolist()),
            constant_share=float(rows[0, -1]),
            triplets=subject.combined_triplets(first, svd),
            stable_rank=float(squares.sum() / svd.S[0].square()),
            exact=exact,
            reconstruction=linear.reconstruction_error(),
            llama=followed_of(linear),
        )
        strongest = svd.V[range(len(side.triplets)), [t.position for t in side.triplets]]
        return Worked(
            bench=self,
            side=side,
            ids=tuple(subject.ids),
            output=y.cpu(),
            logits=linear.logits,
            svd=svd.cpu(),
            terms=dict(zip(targets, rows[1:], strict=True)),
            opinions={token: subject.prediction(token) for token in targets},
            written=([t.writes for t in side.triplets], subject.writes(-svd.U, TOKENS_PER_VECTOR)),
            read=([t.reads for t in side.triplets], subject.reads(-strongest, TOKENS_PER_VECTOR)),
        )
