"""The tables of `attribute --heads`: the heads that give most, and where they look."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.attribute import Attribution
from ggufjac.analyses.heads import HeadTerms
from ggufjac.chat.prompt import contents_first
from ggufjac.reports import words
from ggufjac.reports.account import CONSTANTS
from ggufjac.reports.cells import Cell, ColourScale
from ggufjac.reports.constants import layers
from ggufjac.reports.heads import beside, name, others, weight
from ggufjac.reports.terminal import layout
from ggufjac.reports.terminal.layout import ROOMY, WIDE

#: What a column of probabilities takes, and the columns beside the tokens'.
CELL, BESIDE = 8, 14
#: Tokens that a head reads and a table names.
READ, ROOMIER = 2, 3
#: The share of the largest term below which another is not named.
SMALL = 0.1


def sections(a: Attribution, main: str, width: int) -> Iterable[RenderableType]:
    """Both tables, where heads were asked for; main: what is explained."""
    if not a.heads:
        return
    explained = f"what the heads of attention give to {main}, past all later layers"
    yield from layout.titled("Heads", explained, _heads(a, width))
    yield from layout.titled("Attention", "where each of them looks from the last position", _attention(a, width))


def notes(a: Attribution, width: int) -> tuple[str, ...]:
    """What the words of the tables mean, and which layers have no heads."""
    if not a.heads:
        return ()
    lines = [
        "head: its layer and its number there, from 0; reads at: the tokens at whose positions it finds what gives "
        "most, with its frozen probability there and the term of that; begins at: the tokens in which that began",
        "writes: what it writes at the last position, decoded"
        + ("; reads there: what it would take from the first of these tokens, decoded" if _decoded(a, width) else ""),
    ]
    if any(not head.shares for head in a.heads):
        lines.append("×: what a recurrence multiplies earlier values by, in place of a probability")
    if a.headless:
        lines.append(f"{layers(a.headless)} without heads, whose writes are not divided")
    return tuple(lines)


def _heads(a: Attribution, width: int) -> Table:
    table = layout.table()
    table.add_column("head", justify="right", no_wrap=True)
    table.add_column("term", justify="right")
    table.add_column("", no_wrap=True)
    table.add_column("reads at")
    table.add_column("begins at")
    table.add_column("writes (u)")
    if decoded := _decoded(a, width):
        table.add_column("reads there (v)")
    largest = max(abs(head.total) for head in a.heads)
    for head in a.heads:
        table.add_row(
            name(head),
            words.signed(head.total),
            words.bar(head.total, largest),
            _read(a, head, ROOMIER if width >= WIDE else READ),
            _begins(a, head, ROOMIER if width >= WIDE else READ),
            words.tokens(head.writes, 3 + (width >= ROOMY)),
            *([words.tokens(head.reads, 3)] if decoded else []),
        )
    left, given = others(a)
    if left:
        table.add_row("", words.signed(given), "", Text(f"the {left} other heads", style=words.DIM), "")
    rest = beside(a)
    if words.worth(rest):
        table.add_row("", words.signed(rest), "", Text("beside and behind heads", style=words.DIM), "")
    table.add_section()
    total = sum(layer.total for layer in a.layer_heads)
    elsewhere = Text.assemble(("sum; all else ", words.DIM), words.signed(a.questions[0].value - total))
    table.add_row("", words.signed(total), "", elsewhere, "")
    return table


def _decoded(a: Attribution, width: int) -> bool:
    """Whether there is room for what heads read in tokens."""
    return width >= WIDE and any(head.reads for head in a.heads)


def _read(a: Attribution, head: HeadTerms, n: int) -> Text:
    """The tokens that give a head most, each with its probability and its term."""
    said = [
        _named(a, t, strong=i == 0).append(f" {weight(head, t)} ", style=words.DIM) + words.signed(head.tokens[t])
        for i, t in enumerate(_largest(head.tokens, n))
    ]
    return Text(" · ", style=words.DIM).join(said)


def _begins(a: Attribution, head: HeadTerms, n: int) -> Text:
    """The tokens in which most begins that a head reads, or the constants."""
    terms = (*head.begins, head.constant)
    said = [_named(a, t, strong=i == 0).append(" ") + words.signed(terms[t]) for i, t in enumerate(_largest(terms, n))]
    return Text(" · ", style=words.DIM).join(said)


def _named(a: Attribution, t: int, *, strong: bool) -> Text:
    """A token, with its position where there are several of it; what comes behind all of them, the constants."""
    if t == len(a.tokens):
        return Text(CONSTANTS, style=words.DIM)
    piece = a.tokens[t].token
    alike = sum(row.token.shown == piece.shown for row in a.tokens) > 1
    return Text.assemble((f"{t} " if alike else "", words.DIM), words.token(piece, "bold" if strong else ""))


def _largest(terms: Sequence[float], n: int) -> list[int]:
    """The places of the n largest terms, without those that are small beside the first."""
    ranked = sorted(range(len(terms)), key=lambda t: -abs(terms[t]))[:n]
    return [t for t in ranked if abs(terms[t]) >= SMALL * abs(terms[ranked[0]])]


def _attention(a: Attribution, width: int) -> Table:
    """Rows: the leading heads; columns: the tokens at which one of them looks most, and what is left for others."""
    most = [max(abs(head.weights[t]) for head in a.heads) for t in range(len(a.tokens))]
    columns = layout.chosen(contents_first(most, a.turns), (width - BESIDE) // CELL)
    table = layout.table()
    table.add_column("head", justify="right", no_wrap=True)
    for t in columns.shown:
        longest = words.LONGEST if width >= 2 * WIDE else CELL - 1
        table.add_column(words.column_of(a.tokens[t].token, t, longest), justify="right", no_wrap=True)
    if columns.left:
        table.add_column("others", justify="right", style=words.DIM)
    scale = ColourScale(max(1.0, max(most)), ".2f", "what it multiplies the values there by")
    for head in a.heads:
        cells: list[RenderableType] = [_shade(head, t, scale) for t in columns.shown]
        if columns.left:
            cells.append(_left(head, columns.left))
        table.add_row(name(head), *cells)
    return table


def _shade(head: HeadTerms, t: int, scale: ColourScale) -> Text:
    """A probability that is the fainter the smaller it is."""
    share = abs(head.weights[t]) / scale.full
    style = words.DIM if share < 0.05 else "bold blue" if share > 0.5 else "blue"
    return Cell(weight(head, t), style, value=head.weights[t], scale=scale)


def _left(head: HeadTerms, left: Sequence[int]) -> str:
    """What all others have together."""
    total = sum(head.weights[t] for t in left)
    return words.percent(total) if head.shares else f"×{total:.2f}"
