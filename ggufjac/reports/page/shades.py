"""Colours that stand for numbers, and the key that says for which."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ggufjac.reports.cells import CUT, ColourScale
from ggufjac.reports.page.markup import Markup, tag

#: Shading at its strongest, so that the text above it stays readable on light and on dark.
STRONGEST = 0.62


def shade(value: float, scale: ColourScale) -> tuple[str, str | None]:
    """The classes and the style of a value's background: its sign, how strong it is, and whether it is cut."""
    if not math.isfinite(value) or scale.full <= 0:
        return "", None
    names = f"heat {'neg' if value < 0 else 'pos'}{' cut' if scale.beyond(value) else ''}"
    return names, f"--v:{STRONGEST * min(1.0, abs(value) / scale.full):.4f}"


def key(scale: ColourScale, values: Iterable[float]) -> Markup:
    """The colours with the numbers that they stand for, and what of the values lies beyond."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite or scale.full <= 0:
        return Markup()
    signed = min(finite) < 0
    low = format(-scale.full, scale.shown) if signed else "0"
    ramp = tag("span", class_="ramp both" if signed else "ramp")
    parts: list[object] = [f"{scale.what} " if scale.what else "", low, ramp, format(scale.full, scale.shown)]
    most = max(finite, key=abs)
    if scale.beyond(most):
        parts.append(f"  {CUT}: beyond the scale, up to {format(most, scale.shown)}")
    return tag("p", *parts, class_="key")
