"""Pictures of `lens read`: the grid of every lens, and the ranks of what is followed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ggufjac.analyses.lens.read import LensGrid, LensGrids
from ggufjac.reports.plots import shapes
from ggufjac.reports.plots.analysis import names
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.style import CYCLE, figure
from ggufjac.reports.plots.text import drawable, label, shortened

#: Positions of a grid at most, the last ones.
POSITIONS = 12
#: Letters of a lens's name.
NAME = 40


def pictures(a: LensGrids) -> Iterator[Picture]:
    for i, grid in enumerate(a.grids):
        yield _grid(a, grid, i)
    for i in range(len(a.targets)):
        yield _ranks(a, i)


def _grid(a: LensGrids, grid: LensGrid, number: int) -> Picture:
    """Layers by positions: the first token, shaded by its probability."""
    shown = range(len(a.positions))[-POSITIONS:]
    cells = [[label(row.cells[j].top[0], 12) if row.cells[j].top else "·" for j in shown] for row in grid.rows]
    shades = [[row.cells[j].probabilities[0] if row.cells[j].top else 0.0 for j in shown] for row in grid.rows]
    followed = {target.id for target in a.targets}
    strong = [[bool(c.top) and c.top[0].id in followed for c in (row.cells[j] for j in shown)] for row in grid.rows]
    title = f"What every layer is about to say (lens: {_named(grid)})"
    fig = figure(1.2 + 1.15 * len(shown), 1.4 + 0.235 * len(grid.rows), title, "blue: probability of the first token")
    axes = fig.add_subplot()
    columns = names(a.tokens, [a.positions[j] for j in shown])
    shapes.table(axes, [str(row.layer) for row in grid.rows], columns, cells, np.array(shades), strong)
    axes.set_ylabel("layer")
    return Picture(f"lens-{number + 1}", title, fig)


def _named(grid: LensGrid) -> str:
    return drawable(shortened(grid.name.rsplit("/", 1)[-1], NAME))


def _ranks(a: LensGrids, i: int) -> Picture:
    """The best rank of a target in every layer, a line for each lens."""
    title = f"Rank of {label(a.targets[i])} by layer"
    fig = figure(6.4, 3.6, title, "the best one of all positions that were read")
    axes = fig.add_subplot()
    for grid, color in zip(a.grids, CYCLE * len(a.grids), strict=False):
        best = [min(cell.ranks[i] for cell in row.cells) for row in grid.rows]
        axes.plot([row.layer for row in grid.rows], best, marker="o", markersize=3, color=color, label=_named(grid))
    axes.set_yscale("log")
    axes.invert_yaxis()
    axes.set(xlabel="layer", ylabel="rank")
    axes.grid(axis="y", which="major")
    axes.legend()
    return Picture(f"ranks-{i + 1}", title, fig)
