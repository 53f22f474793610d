"""A picture of `lens vectors`: how long the vector of every block is."""

from __future__ import annotations

from collections.abc import Iterator

from ggufjac.analyses.lens.vectors import LensVectors
from ggufjac.reports.plots import shapes
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.style import figure
from ggufjac.reports.plots.text import label


def pictures(v: LensVectors) -> Iterator[Picture]:
    title = "Vectors by block, and what each raises most"
    fig = figure(7.2, 1.6 + 0.3 * len(v.directions), title, "")
    names = [f"{row.layer}  {label(row.raises[0])}" for row in v.directions]
    axes = fig.add_subplot()
    shapes.bars(axes, names, [row.length for row in v.directions], ".3g")
    axes.set_xlabel("length")
    yield Picture("vectors", title, fig)
