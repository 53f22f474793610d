"""`lens read` on a page: every cell's further tokens, probabilities and ranks on its card."""

from __future__ import annotations

from ggufjac.analyses.lens.read import LensGrids
from ggufjac.reports import words
from ggufjac.reports.page.markup import join
from ggufjac.reports.page.tokens import Card, word
from ggufjac.reports.terminal.lens import InLens


def card(a: LensGrids, about: object) -> Card | None:
    """What a state says, and how the targets rank there."""
    if not isinstance(about, InLens):
        return None
    cell = about.cell
    where = join((word(a.tokens[about.position]), f"position {about.position}, layer {about.layer}"), " ")
    said = [(words.percent(p), word(token)) for token, p in zip(cell.top, cell.probabilities, strict=True)]
    ranks = [(f"rank of {target.shown}", f"{rank:,}") for target, rank in zip(a.targets, cell.ranks, strict=True)]
    return (("behind", where), *said, *ranks)
