"""A report's parts, as they are drawn in a terminal, as HTML: the same facts, tables and notes, in the same words."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.reports.page.markup import Markup, tag
from ggufjac.reports.page.tables import Cards, from_table, no_cards
from ggufjac.reports.page.text import from_text


def from_rich(part: RenderableType | None, cards: Cards = no_cards) -> Markup:
    """A Text, a string, a table, a grid of plots, or a group of these."""
    if part is None:
        return Markup()
    if isinstance(part, Text):
        return from_text(part)
    if isinstance(part, Table):
        return _grid(part) if part.box is None and not part.show_header else from_table(part, cards)
    if isinstance(part, Group):
        return tag("div", *(tag("div", from_rich(line), class_="line") for line in part.renderables), class_="group")
    if isinstance(part, str):
        return from_text(Text(part))
    raise TypeError(f"a page cannot show a {type(part).__name__}")


def _grid(table: Table) -> Markup:
    """Things side by side, such as plots."""
    columns = [list(column.cells) for column in table.columns]
    return tag(
        "div", *(tag("div", from_rich(cell)) for row in zip(*columns, strict=True) for cell in row), class_="side"
    )
