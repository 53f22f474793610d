"""llama.cpp's opinion of an answer: what it would have said at every place of the same text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.analyses.common.agreement import ROUNDING, TIE, compare
from ggufjac.analyses.common.tokens import Piece, Speller
from ggufjac.errors import UserError
from ggufjac.llamacpp.run import Runner
from ggufjac.maps.model import Model
from ggufjac.network.forward import rounded_context

MATCH, MISMATCH = "MATCH", "MISMATCH"


@dataclass(frozen=True)
class Differing:
    """A place where llama.cpp's likeliest token is another one. position: in the text; margin: by how many logits
    exact arithmetic prefers its own; verdict: NEAR-TIE or MISMATCH."""

    position: int
    ours: Piece
    theirs: Piece
    margin: float
    verdict: str


@dataclass(frozen=True)
class Judged:
    """llama.cpp beside exact arithmetic at all places of an answer.

    places: how many; same: how many have the same likeliest token; noise: the largest root mean square of the logits'
    differences over their spread. differing: the places with another one, or with logits that are too far. close:
    positions of those where rounding of the size that was met there could turn the two likeliest tokens round: run
    token by token, llama.cpp may say the other one. reason: why llama.cpp could not be asked (then all else is 0).
    """

    places: int
    same: int
    noise: float
    differing: tuple[Differing, ...]
    close: tuple[int, ...] = ()
    reason: str = ""

    @property
    def agrees(self) -> bool:
        return not any(place.verdict == MISMATCH for place in self.differing)


def judged(model: Model, ids: Sequence[int], n_prompt: int, logits: Tensor, speller: Speller) -> Judged:
    """Ask llama.cpp about the text ids [P + m], whose last m tokens are the answer; logits [m, n_vocab] are the exact
    ones by which they were said. One run of the text."""
    context = rounded_context(len(ids))
    positions = range(n_prompt - 1, len(ids) - 1)
    try:
        with Runner(model.file.path, n_ctx=context, threads=torch.get_num_threads(), watched=False) as llama:
            theirs = llama.logits_at(list(ids[:-1]), positions)
    except UserError as error:
        return Judged(0, 0, 0.0, (), reason=str(error))
    found = [compare(ours.numpy(), row, ROUNDING) for ours, row in zip(logits, theirs, strict=True)]
    return Judged(
        places=len(found),
        same=sum(agreement.ours == agreement.theirs for agreement in found),
        noise=max(agreement.noise / agreement.spread for agreement in found),
        differing=tuple(
            Differing(p + 1, speller.piece(a.ours), speller.piece(a.theirs), a.margin, a.verdict)
            for p, a in zip(positions, found, strict=True)
            if a.verdict != MATCH
        ),
        close=tuple(
            p + 1
            for p, a, row in zip(positions, found, logits, strict=True)
            if a.verdict != MISMATCH and float(row.topk(2).values.diff().abs()) <= TIE * a.noise
        ),
    )
