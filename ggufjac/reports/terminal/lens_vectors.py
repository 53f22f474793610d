"""The report of `ggufjac lens vectors`: what vectors raise through the lens."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.lens.vectors import LensVectors
from ggufjac.readable import visible
from ggufjac.reports import words
from ggufjac.reports.phrases import lens_line
from ggufjac.reports.terminal import layout


def report(vectors: LensVectors) -> RenderableType:
    """The report of vectors that were made or read."""
    return layout.Fitted(lambda _: _draw(vectors))


def _draw(v: LensVectors) -> Iterable[RenderableType]:
    facts: list[tuple[str, RenderableType]] = [
        ("model", layout.model_line(v.model)),
        ("lens", Text(lens_line(v.lens))),
    ]
    if v.tokens:
        facts.append(("of", words.tokens(v.tokens, len(v.tokens))))
    if v.source:
        facts.append(("read", Text(visible(v.source))))
    if v.target:
        facts.append(("written", Text(visible(v.target))))
        facts.append(("use", Text(f"llama-cli --control-vector-scaled {visible(v.target)} 1.0 ...")))
    yield layout.frame("ggufjac lens vectors", facts)
    made = "the token's direction above the mean of all" if v.centred else "the token's direction"
    what = made if v.tokens else "the vectors of the file"
    yield from layout.titled("Blocks", f"{what}, and what it raises through the lens", _rows(v))
    yield layout.notes(
        "length: of the vector; raises: the tokens whose logits it adds most to, by W diag(w) J v",
    )


def _rows(v: LensVectors) -> Table:
    table = layout.table()
    table.add_column("block", justify="right")
    table.add_column("length", justify="right")
    table.add_column("raises", ratio=1)
    for row in v.directions:
        table.add_row(str(row.layer), f"{row.length:.3g}", words.tokens(row.raises, len(row.raises)))
    return table
