"""The report of `ggufjac lens compare`: how far two lenses are apart, and whether that is more than their noise."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.lens.comparison import LensComparison
from ggufjac.readable import visible
from ggufjac.reports import words
from ggufjac.reports.phrases import lens_line
from ggufjac.reports.terminal import layout


def report(comparison: LensComparison) -> RenderableType:
    """The report of two lenses."""
    return layout.Fitted(lambda width: _draw(comparison, width))


def _draw(c: LensComparison, width: int) -> Iterable[RenderableType]:
    facts: list[tuple[str, RenderableType]] = [("A", Text(lens_line(c.a))), ("B", Text(lens_line(c.b)))]
    if c.model_a:
        both = c.model_a if c.model_a == c.model_b else f"{c.model_a} (A), {c.model_b} (B)"
        facts.append(("states of", Text(visible(both))))
    yield layout.frame("ggufjac lens compare", facts)
    yield from layout.titled("Blocks", "the two matrices of each", _rows(c, width))
    lines = [
        "cosine: of the matrices' entries; apart: |A - B| / |A|; noise: what the standard errors alone explain of it",
        "ratio: |B| / |A|; a ● marks what is further apart than the noise explains",
    ]
    if c.same_texts:
        lines.append("both were fitted over the same texts and share most of their noise, so that less can be real")
    if c.model_a:
        lines.append("first: how often both read the same leading token; shared: of the ten leading ones")
    yield layout.notes(*lines)


def _rows(c: LensComparison, width: int) -> Table:
    table = layout.table()
    names = ["block", "cosine", "apart", "noise", "", "ratio"]
    for name in (*names, *(("first", "shared") if c.model_a else ())):
        table.add_column(name, justify="right")
    for row in c.layers:
        cells = [
            str(row.layer),
            f"{row.cosine:.3f}",
            f"{row.difference:.3f}",
            "?" if math.isnan(row.noise) else f"{row.noise:.3f}",
            "●" if row.beyond else "",
            f"{row.ratio:.3f}",
        ]
        if row.reading is not None:
            cells += [words.percent(row.reading.first), words.percent(row.reading.shared)]
        table.add_row(*cells)
    return layout.narrowed(table, width, ("ratio",))
