"""The table of `patch --heads`: what single heads restore, layer by head, or the heads that restore the most."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table

from ggufjac.analyses.patch import Patching
from ggufjac.analyses.restored import PatchedHeads
from ggufjac.reports import words
from ggufjac.reports.constants import layers
from ggufjac.reports.terminal import layout
from ggufjac.reports.terminal.patchgrid import (
    ROWS,
    InPatchGrid,
    cell_of,
    head_called,
    percent,
    percent_cell,
    restored,
)

#: Heads that are told of where there is no room for all.
MOST = 10
#: What the column of layers takes.
LAYERS = 3


def sections(a: Patching, width: int) -> Iterable[RenderableType]:
    """The table, where heads were asked for."""
    if a.heads is None:
        return
    where = "at all positions from the first that differs" if len(a.positions) > 1 else "at the position"
    if set(a.positions) != set(range(a.first, len(a.tokens))):
        where = "at the patched positions together"
    if not fits(a.heads, width):
        explained = f"what one head reads, {where}: the {MOST} that restore the most"
        yield from layout.titled("Heads", explained, _most(a.heads))
        return
    shown = rows_of(a.heads)
    few = "" if len(shown) == len(a.heads.layers) else f"; the {len(shown)} of {len(a.heads.layers)} layers with most"
    explained = f"what one head reads, {where}: percent restored, by layer and head{few}"
    yield from layout.titled("Heads", explained, _grid(a.heads, shown))


def notes(a: Patching) -> list[str]:
    """What the words mean, and which layers have no heads."""
    if a.heads is None:
        return []
    lines = [
        "head: of attention, layer and number there from 0; it reads the values times its probabilities, before "
        "the output projection"
    ]
    if a.heads.without:
        lines.append(f"{layers(a.heads.without)} without heads that can be patched")
    return lines


def rows_of(heads: PatchedHeads) -> Sequence[int]:
    """The layers that have a row, by their number: those with a head that restores the most."""
    n = len(heads.layers)
    most = sorted(range(n), key=lambda i: -max(map(abs, heads.restored[i])))
    return sorted(most[:ROWS])


def fits(heads: PatchedHeads, width: int) -> bool:
    """Whether every head has a column."""
    each = max(len(f"{round(100 * value)}") for line in heads.restored for value in line)
    n = max(map(len, heads.restored))
    return LAYERS + n * (max(each, len(str(n - 1))) + layout.BETWEEN) <= width


def _grid(heads: PatchedHeads, shown: Sequence[int]) -> Table:
    table = layout.table()
    table.add_column("", justify="right", style=words.DIM)
    for head in range(max(map(len, heads.restored))):
        table.add_column(str(head), justify="right", no_wrap=True)
    for i in shown:
        cells = [cell_of(InPatchGrid(heads, i, j)) for j in range(len(heads.restored[i]))]
        table.add_row(str(heads.layers[i]), *cells)
    return table


def _most(heads: PatchedHeads) -> Table:
    table = layout.table()
    table.add_column("head", justify="right")
    table.add_column("restores", justify="right")
    for estimate in heads.estimates:
        table.add_column(estimate.rules, justify="right", style=words.DIM)
    every = [InPatchGrid(heads, i, j) for i, line in enumerate(heads.restored) for j in range(len(line))]
    for place in sorted(every, key=lambda place: -abs(restored(place)))[:MOST]:
        cells = [percent(e.restored[place.row][place.column]) for e in heads.estimates]
        table.add_row(head_called(place), percent_cell(place), *cells)
    return table
