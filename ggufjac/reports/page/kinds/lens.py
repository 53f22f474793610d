"""`lens read` on a page: every cell's further tokens, probabilities and ranks on its card.

Without a script the grids stand one below the other, as in the report. The script (lens.js) makes tabs of the lenses,
keeps a state chosen while they are switched, and narrows them to some layers and positions; `data` is what it cannot
read off the grids themselves.
"""

from __future__ import annotations

from typing import Any

from ggufjac.analyses.lens.read import LensGrids
from ggufjac.reports import words
from ggufjac.reports.page.markup import join
from ggufjac.reports.page.tokens import Card, word
from ggufjac.reports.terminal.lens import InLens, lens_name

STYLE, SCRIPT = "lens.css", "lens.js"


def data(a: LensGrids) -> dict[str, Any]:
    """The names of the lenses and of what is followed: for every lens the page has a grid and a table of each one's
    ranks."""
    return {"lenses": [lens_name(a, grid) for grid in a.grids], "targets": [target.shown for target in a.targets]}


def card(a: LensGrids, about: object) -> Card | None:
    """What a state says, and how the targets rank there."""
    if not isinstance(about, InLens):
        return None
    cell = about.cell
    where = join((word(a.tokens[about.position]), f"position {about.position}, layer {about.layer}"), " ")
    said = [(words.percent(p), word(token)) for token, p in zip(cell.top, cell.probabilities, strict=True)]
    ranks = [(f"rank of {target.shown}", f"{rank:,}") for target, rank in zip(a.targets, cell.ranks, strict=True)]
    return (("behind", where), *said, *ranks)
