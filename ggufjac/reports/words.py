"""Numbers and tokens as words of a report. Token text never reaches rich's markup parser."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.text import Text

from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.common.words import Word
from ggufjac.reports.cells import Bar, Cell
from ggufjac.reports.phrases import Phrase

TOKEN = "bold cyan"
DIM = "bright_black"
GOOD, FAIR, BAD = "green", "yellow", "bold red"
#: What is written as 0.00 below this.
WORTH = 0.005
#: Longest token text that a table shows.
LONGEST = 18


def token(piece: Piece | Word, style: str = TOKEN, longest: int = LONGEST) -> Text:
    shown = piece.shown
    return Text(shown if len(shown) <= longest else shown[: longest - 1] + "…", style=style)


def column_of(piece: Piece, position: int, longest: int = LONGEST) -> Text:
    """The heading of a token's column: its position, which tells equal tokens apart, above its text."""
    shown = token(piece, "")
    shown.truncate(longest, overflow="ellipsis")
    return Text.assemble((f"{position}\n", DIM), shown)


def phrase(parts: Phrase, style: str = TOKEN) -> Text:
    """Texts and tokens one after the other."""
    return Text().join([token(part, style) if isinstance(part, Piece) else Text(part) for part in parts])


def tokens(pieces: Iterable[Piece], n: int, style: str = "") -> Text:
    """The first n tokens, separated by a thin mark, never wrapped within one."""
    mark = Text(" · ", style=DIM)
    return mark.join([token(piece, style or ("bold" if i == 0 else "")) for i, piece in enumerate(list(pieces)[:n])])


def positions(start: int, stop: int) -> str:
    """Positions from start to stop - 1."""
    return str(start) if stop == start + 1 else f"{start}–{stop - 1}"


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def signed(value: float) -> Text:
    return Cell(f"{value:+.2f}", "red" if value < -WORTH else "", value=value)


def worth(value: float) -> bool:
    """Whether a number that may be nothing is more than a signed nought."""
    return abs(value) >= WORTH


def small(value: float) -> str:
    """An error in two digits."""
    return f"{value:.1e}"


def dimension(stable_rank: float, exact: bool) -> str:
    """A stable rank, marked where it is estimated; a map that is zero has none."""
    return "" if math.isnan(stable_rank) else f"{'' if exact else '≈'}{stable_rank:.3g}"


def numbered(name: str, n: int) -> str:
    """A name with a subscript: u₁."""
    return name + str(n).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def sigma(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def bar(value: float, largest: float, width: int = 8) -> Text:
    """A bar of `width` cells for |value| = largest, in eighths of a cell; negative values are red.

    Where |value| is larger the bar ends in a mark, which `layout` explains at the foot of the report.
    """
    if largest <= 0 or value != value:
        return Text(" " * width)
    return Bar(abs(value) / largest, width, negative=value < 0)


def byte_size(n: int) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.0f} MB"


def duration(seconds: float) -> str:
    """A time as one says it: 0.4 s, 75 s, 12 min, 3.1 h."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def count(n: int) -> str:
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if n >= size:
            return f"{n / size:.3g}{unit}"
    return str(n)
