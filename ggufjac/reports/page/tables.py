"""Tables of a report as tables of a page: the same columns and cells, which sort, are shaded and have cards."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from ggufjac.reports.cells import Bar, Cell, ColourScale
from ggufjac.reports.page.markup import Markup, join, tag
from ggufjac.reports.page.shades import key, shade
from ggufjac.reports.page.text import class_of, from_text
from ggufjac.reports.page.tokens import Card, carded
from ggufjac.reports.terminal.layout import named

#: Gives the card of what a cell is about; None: it has none.
Cards: TypeAlias = "Callable[[object], Card | None]"

#: Rows that are shown before a table is opened.
ROWS = 20
#: Letters from which on a column's cells are text, which has a line of its own on a narrow screen.
TEXT = 24
NUMBER = re.compile(r"[≈<]?\s*([+\-−]?\d[\d,]*(?:\.\d+)?(?:e[+\-]?\d+)?)")


def no_cards(_: object) -> Card | None:
    return None


def from_table(table: Table, cards: Cards = no_cards) -> Markup:
    """A table that sorts by its columns. Below it the key of its colours."""
    columns = [(column, list(column.cells)) for column in table.columns]
    body = _body(table)
    by_layer = bool(columns) and named(columns[0][0]) == "layer"
    kept = _kept([[own[i] for _, own in columns] for i in range(body)], by_layer)
    rows = [
        tag("tr", *(_cell(column, own, i, cards) for column, own in columns), class_="rest" if i in kept.back else None)
        for i in range(len(table.rows))
    ]
    parts = [tag("thead", tag("tr", *(_heading(*column) for column in columns))), tag("tbody", *rows[:body])]
    if rows[body:]:
        parts.append(tag("tfoot", *rows[body:]))
    made = tag("table", *parts, class_=_kind(columns, cards))
    box = tag("div", made, class_="scroll", tabindex="0", role="region", aria_label="table")
    return join((_opener(kept), box, *_keys(cell for _, own in columns for cell in own)))


def _body(table: Table) -> int:
    """How many rows are not the foot: that is what follows the last rule, and nameless rows (constants) before it."""
    ends = [i for i, row in enumerate(table.rows) if row.end_section]
    if not ends or ends[-1] + 1 == len(table.rows):
        return len(table.rows)
    names = list(table.columns[0].cells)
    end = ends[-1] + 1
    while end and not _plain(names[end - 1]):
        end -= 1
    return end


def value_of(text: str) -> float | None:
    """The number at the start of a cell, by which its row is sorted; None for words."""
    found = NUMBER.match(text.strip())
    return None if found is None else float(found.group(1).replace(",", "").replace("−", "-"))


@dataclass(frozen=True)
class Kept:
    """The rows that a long table keeps back, and what is said of those that it shows."""

    back: frozenset[int] = frozenset()
    shown: str = ""


def _kept(rows: Sequence[Sequence[RenderableType]], by_layer: bool) -> Kept:
    """Shown are the rows with the longest bars or the strongest colours; without such the last layers, or the first."""
    n = len(rows)
    if n <= ROWS:
        return Kept()
    weights = [_weight(row) for row in rows]
    if any(weights):
        order = sorted(range(n), key=lambda i: -weights[i])
        return Kept(frozenset(order[ROWS:]), f"{ROWS} of {n} rows, those with the largest values")
    if by_layer:
        return Kept(frozenset(range(n - ROWS)), f"the last {ROWS} of {n} rows")
    return Kept(frozenset(range(ROWS, n)), f"the first {ROWS} of {n} rows")


def _weight(cells: Iterable[RenderableType]) -> float:
    bars, shades = [], [0.0]
    for cell in cells:
        if isinstance(cell, Bar):
            bars.append(cell.share)
        elif isinstance(cell, Cell) and cell.scale is not None and cell.strength is not None:
            shades.append(abs(cell.strength) if cell.scale.size else 0.0)
    return bars[0] if bars else max(shades)


def _opener(kept: Kept) -> Markup:
    """What opens a long table; it stands before the table, whose style asks whether it is open."""
    return tag("details", tag("summary", f"{kept.shown}: show all"), class_="more") if kept.back else Markup()


def _kind(columns: Sequence[tuple[Column, Sequence[RenderableType]]], cards: Cards) -> str | None:
    cells = [cell for _, own in columns for cell in own if isinstance(cell, Cell)]
    concepts = any(cell.about is not None and cards(cell.about) is not None for cell in cells)
    shaded = any(cell.scale is not None for cell in cells)
    texts = any(_is_text(column, own) for column, own in columns)
    names = [name for name, so in (("grid", concepts), ("matrix", shaded and not concepts), ("stack", texts)) if so]
    return " ".join(names) or None


def _is_text(column: Column, cells: Sequence[RenderableType]) -> bool:
    """Whether a column holds texts too long to stand beside numbers on a narrow screen; no bar is one."""
    long = max((cell_len(_plain(cell)) for cell in cells if not isinstance(cell, Bar)), default=0) >= TEXT
    return column.justify != "right" and (long or column.ratio is not None)


def _heading(column: Column, cells: Sequence[RenderableType]) -> Markup:
    """A column's heading: a button that sorts, unless there is nothing to sort by."""
    label = from_text(column.header) if isinstance(column.header, Text) else from_text(Text(str(column.header)))
    sorts = bool(label) and not any(isinstance(cell, Bar) for cell in cells)
    numeric = column.justify == "right"
    inner = tag("button", label, type="button") if sorts else label
    return tag("th", inner, class_="num" if numeric else None, scope="col", aria_sort="none" if sorts else None)


def _cell(column: Column, cells: Sequence[RenderableType], i: int, cards: Cards) -> Markup:
    cell = cells[i]
    shown = from_text(cell if isinstance(cell, Text) else Text(str(cell)))
    numeric = column.justify == "right"
    value = value_of(_plain(cell)) if numeric else None
    names = [name for name, so in (("num", numeric), ("dim", class_of(column.style) == "dim")) if so]
    names += ["text"] if _is_text(column, cells) else ["whole"] if column.no_wrap and not numeric else []
    style = None
    if isinstance(cell, Cell):
        value = value if cell.value is None else cell.value
        if cell.scale is not None and cell.strength is not None:
            heat, style = shade(cell.strength, cell.scale)
            names += heat.split()
        card = None if cell.about is None else cards(cell.about)
        if card is not None:
            shown = carded(shown, card)
            names.insert(0, "concept")
    return tag("td", shown, class_=" ".join(names) or None, style=style, data_v=value, data_label=named(column) or None)


def _keys(cells: Iterable[RenderableType]) -> list[Markup]:
    """A key for every scale that the cells are shaded by."""
    found: dict[ColourScale, list[float]] = {}
    for cell in cells:
        if isinstance(cell, Cell) and cell.scale is not None and cell.strength is not None:
            found.setdefault(cell.scale, []).append(cell.strength)
    return [key(scale, values) for scale, values in found.items()]


def _plain(cell: RenderableType) -> str:
    return cell.plain if isinstance(cell, Text) else cell if isinstance(cell, str) else ""
