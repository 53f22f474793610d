"""Tokens on a page: words with a card of numbers, shaded text, grids of concepts, matrices of numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ggufjac.analyses.common.tokens import Piece
from ggufjac.reports.page.convert import heading, sortable
from ggufjac.reports.page.markup import Markup, join, tag
from ggufjac.reports.phrases import Phrase

#: Shading at its strongest, so that the text above it stays readable on light and on dark.
STRONGEST = 0.62
#: The longest text of a token that a cell shows; cards show all of it.
LONGEST = 20
#: Columns that a matrix shows at most; of a long prompt the tokens that matter most.
COLUMNS = 48


def word(piece: Piece, *names: str) -> Markup:
    """A token's text, isolated from the direction of what stands around it."""
    return tag("bdi", piece.shown, class_=" ".join(("word", *names)))


def phrase(parts: Phrase) -> str:
    """Texts and tokens one after the other, as plain text."""
    return "".join(part.shown if isinstance(part, Piece) else part for part in parts)


def words_of(pieces: Iterable[Piece], n: int | None = None, target: int | None = None) -> Markup:
    """The first n tokens, long ones shortened; None: all of them, in full. The one with the id `target` stands out."""
    return join((_listed(piece, n is None, piece.id == target) for piece in list(pieces)[:n]), " · ")


def _listed(piece: Piece, full: bool, stands_out: bool) -> Markup:
    text = piece.shown
    shown = text if full or len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return tag("bdi", shown, class_="word target" if stands_out else "word")


def carded(shown: object, card: Iterable[tuple[str, object]], *names: str, style: str | None = None) -> Markup:
    """Something that shows a card of names and values while it is pointed at or has the focus."""
    rows = join(tag("span", tag("span", name, class_="name"), tag("span", value), class_="row") for name, value in card)
    tip = tag("span", rows, class_="tip", role="tooltip")
    return tag("span", shown, tip, class_=" ".join(("carded", *names)), tabindex="0", style=style)


def shade(value: float, largest: float) -> tuple[str, str | None]:
    """The class and the style of a value's background: its sign, and how strong it is beside the largest."""
    if not math.isfinite(value) or largest <= 0:
        return "", None
    return "heat neg" if value < 0 else "heat pos", f"--v:{STRONGEST * min(1.0, abs(value) / largest):.4f}"


@dataclass(frozen=True)
class Shaded:
    """A token of a prompt, the value that shades it, and its card."""

    token: Piece
    value: float
    card: tuple[tuple[str, object], ...]


def shaded_text(tokens: Sequence[Shaded]) -> Markup:
    """A prompt as text, each token shaded by its value beside the largest of all but the first one.

    The first token has the largest value nearly always; it would leave the others without colour.
    """
    largest = max((abs(t.value) for t in tokens[1:] or tokens if math.isfinite(t.value)), default=0.0)
    out = []
    for t in tokens:
        name, style = shade(t.value, largest)
        out.append(carded(word(t.token), t.card, *(name.split() or ["heat"]), style=style))
        if "\n" in t.token.text:
            out.append(Markup("<br>"))
    return tag("p", *out, class_="prompt")


@dataclass(frozen=True)
class Cell:
    """A cell of a grid: what it shows, its card, its shade from 0 to 1, and what its column is sorted by."""

    shown: Markup
    card: tuple[tuple[str, object], ...]
    shade: float
    value: float


#: A cell that has no card: what it shows, and what its column is sorted by (None: by its text).
Plain = tuple[object, float | None]


def grid(
    heads: Sequence[tuple[str, bool]],
    rows: Iterable[tuple[Sequence[Plain], Sequence[Cell]]],
    cells: Sequence[str],
    foot: Sequence[Markup] = (),
) -> Markup:
    """Rows of plain cells and of cells with cards; heads: a plain column's label, and whether it holds numbers."""
    head = [heading(label, numeric=numeric, sorts=bool(label)) for label, numeric in heads]
    head += [heading(label) for label in cells]
    body = []
    for plain, row in rows:
        left = [
            tag("td", shown, class_="num" if numeric else None, data_v=value)
            for (shown, value), (_, numeric) in zip(plain, heads, strict=True)
        ]
        right = [
            tag("td", carded(c.shown, c.card), class_="concept heat pos", data_v=c.value, style=_style(c.shade))
            for c in row
        ]
        body.append(tag("tr", *left, *right))
    return sortable(head, body, foot, class_="grid")


def numbered(name: str, n: int) -> str:
    """A name with a subscript from 1 on."""
    return name + str(n).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def _style(share: float) -> str:
    return f"--v:{STRONGEST * max(0.0, min(1.0, share)):.4f}"


def matrix(
    corner: str,
    columns: Sequence[Piece | str],
    rows: Sequence[tuple[str, Sequence[float]]],
    shown: str,
    total: Sequence[float] | None = None,
    sums: bool = False,
) -> Markup:
    """Numbers, shaded: a column for every token (of many, those with the largest values), a row for every name.

    shown: the format of a number; total: a last row; sums: a last column. Neither is shaded. What is left out is added
    up in a column of its own.
    """
    worst = [max((abs(values[j]) for _, values in rows), default=0.0) for j in range(len(columns))]
    kept = sorted(sorted(range(len(columns)), key=lambda j: -worst[j])[:COLUMNS])
    left = [j for j in range(len(columns)) if j not in set(kept)]
    largest = max((worst[j] for j in kept[1:] or kept), default=0.0)
    labels: list[object] = [word(c) if isinstance(c, Piece) else c for c in (columns[j] for j in kept)]
    labels += [f"{len(left)} others"] if left else []
    labels += ["sum"] if sums else []

    def row(name: str, values: Sequence[float], number: int | None, scale: float) -> Markup:
        cells = [_number(values[j], shown, scale) for j in kept]
        if left:
            cells.append(_number(sum(values[j] for j in left), shown, scale))
        if sums:
            cells.append(_number(sum(values), shown, 0.0))
        return tag("tr", tag("th", name, class_="num", scope="row", data_v=number), *cells)

    body = [row(name, values, i, largest) for i, (name, values) in enumerate(rows)]
    foot = [] if total is None else [row("sum", total, None, 0.0)]
    return sortable([heading(label, numeric=True) for label in (corner, *labels)], body, foot, class_="matrix")


def _number(value: float, shown: str, largest: float) -> Markup:
    name, style = shade(value, largest)
    return tag("td", format(value, shown), class_=f"num {name}".strip(), style=style, data_v=value)
