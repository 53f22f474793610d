"""Cells of a report's tables that know more than their text: the number, its colour, what they are about.

A terminal shows the text. A page takes the rest as well: it sorts by the number itself, shades by a scale, and shows a
card about the thing.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text

#: The end of a bar that is longer than its place.
CUT = "»"
#: What a value may exceed its scale by and still count as full: cosines of float32 do.
ROUNDING = 1e-5


@dataclass(frozen=True)
class ColourScale:
    """What the colour of a cell stands for: the value that is shaded fully, how it is written, and what is measured.

    size: whether a row of strong colours is worth more than a pale one.
    """

    full: float
    shown: str = "+.2f"
    what: str = ""
    size: bool = True

    def beyond(self, value: float) -> bool:
        """Whether a value would need more than the full colour."""
        return abs(value) > self.full * (1 + ROUNDING)


class Cell(Text):
    """A text with its value (what its column is sorted by), its strength on a scale, and what it is about."""

    def __init__(
        self,
        text: str = "",
        style: str = "",
        *,
        value: float | None = None,
        strength: float | None = None,
        scale: ColourScale | None = None,
        about: object = None,
    ) -> None:
        super().__init__(text, style=style)
        self.value, self.scale, self.about = value, scale, about
        self.strength = value if strength is None else strength


class Bar(Text):
    """A bar out of block characters. share: of its place; above 1 the bar is cut, and its last cell says so."""

    def __init__(self, share: float, width: int, *, negative: bool) -> None:
        self.share, self.negative = share, negative
        eighths = round(min(1.0, share) * width * 8)
        full, rest = divmod(eighths, 8)
        cells = "█" * (width - 1) + CUT if self.cut else "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")
        super().__init__(cells.ljust(width), style="red" if negative else "blue")

    @property
    def cut(self) -> bool:
        return self.share > 1 + ROUNDING
