"""Pictures of `extremes`: the longest columns and rows of each token's map, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ggufjac.analyses.extremes import Extreme, Extremes, TokenExtremes
from ggufjac.reports.plots import shapes
from ggufjac.reports.plots.analysis import names, said
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.style import figure

#: How many of each token, and what a cell has room for.
LISTED, CELL = 4, 26


def pictures(e: Extremes) -> Iterator[Picture]:
    about = "entry, and what its column writes; its share of ‖J_t‖² shades it, the largest most"
    yield _table(e, "columns", "The longest columns of each token's map", about, lambda row: row.columns)
    about = "entry, and what its row reads; its share of ‖J_t‖² shades it, the largest most"
    yield _table(e, "rows", "The longest rows of each token's map", about, lambda row: row.rows)


def _table(
    e: Extremes, name: str, title: str, about: str, listed: Callable[[TokenExtremes], Sequence[Extreme]]
) -> Picture:
    shown = shapes.most([row.norm for row in e.tokens])
    rows = [listed(e.tokens[t]) for t in shown]
    k = min(LISTED, max(len(row) for row in rows))
    cells = [[f"{x.entry}  {100 * x.share:.0f}%  {said(x.tokens, 2, CELL)}" for x in row[:k]] for row in rows]
    shares = np.array([[x.share for x in row[:k]] for row in rows])
    fig = figure(1.8 + 2.6 * k, 1.5 + 0.3 * len(rows), title, about + shapes.of_all(len(shown), len(e.tokens)))
    axes = fig.add_subplot()
    shapes.table(
        axes,
        names((row.token for row in e.tokens), shown),
        [str(i + 1) for i in range(k)],
        cells,
        shares / shares.max(),
    )
    return Picture(name, title, fig)
