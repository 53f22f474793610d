"""A report's parts, as they are drawn in a terminal, as HTML: the same facts, tables and notes, in the same words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.style import Style
from rich.table import Column, Table
from rich.text import Text

from ggufjac.reports import words
from ggufjac.reports.page.markup import Markup, join, tag

#: What a bar is made of in a terminal, from one eighth of a cell to eight.
EIGHTHS = " ▏▎▍▌▋▊▉█"
#: The styles of a report's words (ggufjac.reports.words) and their classes; the first that fits is taken.
CLASSES = (
    (Style.parse(words.DIM), "dim"),
    (Style.parse(words.TOKEN), "tok"),
    (Style.parse(words.BAD), "bad"),
    (Style.parse(words.GOOD), "good"),
    (Style.parse(words.FAIR), "fair"),
    (Style(color="red"), "neg"),
    (Style(color="blue"), "pos"),
)
NUMBER = re.compile(r"[≈<]?\s*([+\-−]?\d[\d,]*(?:\.\d+)?(?:e[+\-]?\d+)?)")


def from_rich(part: RenderableType | None) -> Markup:
    """A Text, a string, a table, a grid of plots, or a group of these."""
    if part is None:
        return Markup()
    if isinstance(part, Text):
        return from_text(part)
    if isinstance(part, Table):
        return _grid(part) if part.box is None and not part.show_header else from_table(part)
    if isinstance(part, Group):
        return tag("div", *(tag("div", from_rich(line), class_="line") for line in part.renderables), class_="group")
    if isinstance(part, str):
        return from_text(Text(part))
    raise TypeError(f"a page cannot show a {type(part).__name__}")


def from_text(text: Text) -> Markup:
    """Text with its styles as classes. Each run is isolated, so that a token's direction stays its own."""
    bar = _bar(text)
    if bar is not None:
        return bar
    out = []
    for segment in text.render(Console(width=80), end=""):
        lines = join(segment.text.split("\n"), Markup("<br>"))
        name = _class(segment.style or text.style)  # rich leaves a text's own style to its console
        out.append(tag("span", lines, class_=name) if name else tag("bdi", lines) if segment.text.strip() else lines)
    return join(out)


def from_table(table: Table) -> Markup:
    """A table that sorts by its columns; what follows its last rule is its foot."""
    columns = list(table.columns)
    cells = [list(column.cells) for column in columns]
    ends = [i for i, row in enumerate(table.rows) if row.end_section]
    body = ends[-1] + 1 if ends and ends[-1] + 1 < len(table.rows) else len(table.rows)
    head = [_heading(column, own) for column, own in zip(columns, cells, strict=True)]
    rows = [
        tag("tr", *(_cell(column, own[i]) for column, own in zip(columns, cells, strict=True)))
        for i in range(len(table.rows))
    ]
    return sortable(head, rows[:body], rows[body:])


def sortable(head: Sequence[Markup], body: Iterable[Markup], foot: Sequence[Markup] = (), class_: str = "") -> Markup:
    """A table in a box of its own, which scrolls sideways where the page is narrow."""
    parts = [tag("thead", tag("tr", *head)), tag("tbody", *body)]
    if foot:
        parts.append(tag("tfoot", *foot))
    table = tag("table", *parts, class_=class_ or None)
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="table")


def heading(label: object, *, numeric: bool = False, sorts: bool = True, dim: bool = False) -> Markup:
    """A column's heading: a button that sorts."""
    inner = tag("button", label, type="button") if sorts else label
    names = [name for name, so in (("num", numeric), ("dim", dim)) if so]
    return tag("th", inner, class_=" ".join(names) or None, scope="col", aria_sort="none" if sorts else None)


def value_of(text: str) -> float | None:
    """The number at the start of a cell, by which its row is sorted; None for words."""
    found = NUMBER.match(text.strip())
    return None if found is None else float(found.group(1).replace(",", "").replace("−", "-"))


def _heading(column: Column, cells: Sequence[RenderableType]) -> Markup:
    label = from_rich(column.header)
    bars = any(isinstance(cell, Text) and _bar(cell) is not None for cell in cells)
    return heading(label, numeric=column.justify == "right", sorts=bool(label) and not bars)


def _cell(column: Column, cell: RenderableType) -> Markup:
    plain = cell.plain if isinstance(cell, Text) else cell if isinstance(cell, str) else ""
    numeric = column.justify == "right"
    names = [name for name, so in (("num", numeric), ("dim", _class(column.style) == "dim")) if so]
    value = value_of(plain) if numeric else None
    return tag("td", from_rich(cell), class_=" ".join(names) or None, data_v=value)


def _grid(table: Table) -> Markup:
    """Things side by side, such as plots."""
    columns = [list(column.cells) for column in table.columns]
    return tag(
        "div", *(tag("div", from_rich(cell)) for row in zip(*columns, strict=True) for cell in row), class_="side"
    )


def _bar(text: Text) -> Markup | None:
    """A bar out of block characters as a bar of the same length."""
    plain = text.plain
    if not plain.strip() or any(c not in EIGHTHS for c in plain):
        return None
    share = sum(EIGHTHS.index(c) for c in plain) / (8 * len(plain))
    return bar(share, negative="red" in str(text.style))


def bar(share: float, *, negative: bool) -> Markup:
    """A bar that fills a share of its place."""
    return tag("span", class_="bar neg" if negative else "bar pos", style=f"--v:{min(1.0, abs(share)):.4f}")


def _class(style: Style | str | None) -> str:
    if not style:
        return ""
    found = Style.parse(style) if isinstance(style, str) else style
    for known, name in CLASSES:
        if found.color == known.color and (not known.bold or found.bold):
            return f"{name} strong" if found.bold and name not in ("tok", "bad") else name
    return " ".join(name for name, so in (("strong", found.bold), ("said", found.italic)) if so)
