"""Cells of the grids of `ggufjac patch`: a place, what it restores, and how that is written."""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text

from ggufjac.analyses.patch import PatchedPart, Patching
from ggufjac.analyses.restored import PatchedHeads
from ggufjac.reports import phrases, words
from ggufjac.reports.cells import Cell, ColourScale

#: Positions or layers that have a row.
ROWS = 24
#: Fractions and their colours, from the largest down; below the last one a number is faint.
HEAT = (
    (0.8, "bold white on #2171b5"),
    (0.5, "bold white on #4292c6"),
    (0.25, "black on #6baed6"),
    (0.1, "black on #9ecae1"),
    (0.05, "black on #deebf7"),
)
AGAINST = "black on #fcbba1"
RESTORED = ColourScale(1.0, ".0%", "of the difference is restored")
DIFFERS = "bold cyan"


@dataclass(frozen=True)
class InPatchGrid:
    """A cell of a grid: the numbers of the layer and the position among those of the part, or of layer and head."""

    part: PatchedPart | PatchedHeads
    row: int
    column: int


def restored(place: InPatchGrid) -> float:
    return place.part.restored[place.row][place.column]


def place_line(a: Patching, place: InPatchGrid) -> Text:
    """A place in words: layer 14 attention at ␣France, head 14.2."""
    if isinstance(place.part, PatchedHeads):
        return Text(f"head {head_called(place)}")
    token = a.tokens[a.positions[place.column]]
    out = Text(f"layer {place.part.layers[place.row]} {phrases.part_called(place.part.part)} at ")
    out.append_text(words.token(token.clean))
    if token.clean.id != token.corrupt.id:
        out.append(" for ").append_text(words.token(token.corrupt, ""))
    return out.append(f" ({token.position})", style=words.DIM)


def head_called(place: InPatchGrid) -> str:
    """A head's layer and its number there."""
    return f"{place.part.layers[place.row]}.{place.column}"


def percent(fraction: float) -> str:
    """Whole percent with a sign, and no -0."""
    return f"{round(100 * fraction):+d}%"


def percent_cell(place: InPatchGrid) -> Text:
    value = restored(place)
    return Cell(percent(value), "red" if value < 0 else "", value=value)


def cell_of(place: InPatchGrid) -> Text:
    value = restored(place)
    style = next((style for least, style in HEAT if value >= least), words.DIM)
    return Cell(
        f"{round(100 * value)}",
        AGAINST if value <= -HEAT[-1][0] else style,
        value=value,
        scale=RESTORED,
        about=place,
    )
