"""A picture of `lens compare`: how far the matrices are apart, beside their noise."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ggufjac.analyses.lens.comparison import LensComparison
from ggufjac.reports.plots import shapes
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.style import figure


def pictures(c: LensComparison) -> Iterator[Picture]:
    title = "Two lenses, block by block"
    fig = figure(7.2, 1.8 + 0.4 * len(c.layers), title, "|A - B| / |A|, and what the standard errors explain")
    axes = fig.add_subplot()
    noise = [0.0 if math.isnan(row.noise) else row.noise for row in c.layers]
    apart = [row.difference for row in c.layers]
    shapes.grouped(axes, [f"block {row.layer}" for row in c.layers], [("apart", apart), ("noise", noise)])
    yield Picture("difference", title, fig)
