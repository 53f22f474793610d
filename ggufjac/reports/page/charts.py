"""Small pictures as inline SVG, coloured by the page."""

from __future__ import annotations

from collections.abc import Sequence

from ggufjac.reports.page.markup import Markup, tag

#: The size of a picture in its own units, and its margin.
SIZE, MARGIN = 240, 12


def scatter(x: Sequence[float], y: Sequence[float], limit: float, label: str) -> Markup:
    """Points in the square from -limit to limit, with its diagonal; points outside lie on the edge."""
    inside = SIZE - 2 * MARGIN

    def place(value: float) -> float:
        return MARGIN + inside * (0.5 + 0.5 * max(-1.0, min(1.0, value / limit if limit > 0 else 0.0)))

    points = [
        tag("circle", cx=f"{place(a):.1f}", cy=f"{SIZE - place(b):.1f}", r="1.6")
        for a, b in zip(x, y, strict=True)
        if a == a and b == b
    ]
    low, high = str(MARGIN), str(SIZE - MARGIN)
    frame = tag("rect", x=low, y=low, width=str(inside), height=str(inside), class_="frame")
    diagonal = tag("line", x1=low, y1=high, x2=high, y2=low, class_="diagonal")
    view = f"0 0 {SIZE} {SIZE}"
    return tag("svg", tag("title", label), frame, diagonal, *points, viewBox=view, role="img", class_="scatter")
