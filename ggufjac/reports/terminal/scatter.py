"""Scatter plots in the terminal, out of Braille patterns of two by four dots to a character."""

from __future__ import annotations

from collections.abc import Sequence

#: The bit of each dot in U+2800 ..., by row and column.
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
BLANK = 0x2800


def scatter(x: Sequence[float], y: Sequence[float], limit: float, width: int, height: int) -> list[str]:
    """Points in the square from -limit to limit in both directions, as `height` lines of `width` characters.

    Points outside lie on the edge; those that are no numbers are left out.
    """
    cells = [[0] * width for _ in range(height)]
    columns, rows = 2 * width, 4 * height
    for a, b in zip(x, y, strict=True):
        if a != a or b != b:
            continue
        column = _place(a, limit, columns)
        row = rows - 1 - _place(b, limit, rows)
        cells[row // 4][column // 2] |= DOTS[row % 4][column % 2]
    return ["".join(chr(BLANK + bits) for bits in line) for line in cells]


def _place(value: float, limit: float, dots: int) -> int:
    share = 0.5 + 0.5 * value / limit if limit > 0 else 0.5
    return round(min(1.0, max(0.0, share)) * (dots - 1))
