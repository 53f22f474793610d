"""The shapes that several pictures share: bars by token, heat maps, tables of tokens, scatters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import ColorType
from numpy.typing import NDArray

from ggufjac.reports.phrases import INSIDE
from ggufjac.reports.plots.style import (
    BLUE,
    DIVERGING,
    FAINT,
    INK,
    LINE,
    PALE,
    SEQUENTIAL,
    VERMILION,
    bare,
    logarithmic,
)

#: As many rows or columns as a picture has room for; of more tokens those that matter most are drawn.
ROOM = 40
#: Heat maps with at most so many cells tell their numbers.
NUMBERED = 420
#: The luma (ITU-R BT.601, from 0 to 1) below which text on a colour is white.
DARK = 0.52
Array = NDArray[np.float64]


def most(values: Sequence[float], n: int = ROOM) -> list[int]:
    """The places of the n largest values, by size, in their own order."""
    ranked = sorted(range(len(values)), key=lambda i: -abs(values[i]) if math.isfinite(values[i]) else 0.0)
    return sorted(ranked[:n])


def of_all(shown: int, n: int, what: str = "tokens") -> str:
    """What a title adds where not everything is shown."""
    return "" if shown == n else f" ({shown} of {n} {what})"


def bars(axes: Axes, labels: Sequence[str], values: Sequence[float], form: str = "+.2f") -> None:
    """A bar for every label from the top down, with its number at its end."""
    places = range(len(values))
    axes.barh(places, values, color=[VERMILION if value < 0 else BLUE for value in values], height=0.68)
    axes.set_yticks(places, labels)
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.axvline(0, color=FAINT, linewidth=0.8)
    low, high = min(0.0, *values), max(0.0, *values)
    pad = (high - low or 1.0) * 0.015
    for place, value in zip(places, values, strict=True):
        side = "right" if value < 0 else "left"
        axes.text(value + (-pad if value < 0 else pad), place, format(value, form), va="center", ha=side, fontsize=8.5)
    axes.set_xlim(low - (10 * pad if low < 0 else 0), high + 10 * pad)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def grouped(axes: Axes, labels: Sequence[str], series: Sequence[tuple[str, Sequence[float]]]) -> None:
    """Bars of several series side by side for every label, from the top down."""
    height = 0.8 / len(series)
    places = np.arange(len(labels), dtype=float)
    for i, (name, values) in enumerate(series):
        offset = (i - (len(series) - 1) / 2) * height
        axes.barh(places + offset, np.asarray(values, dtype=float), height=0.9 * height, label=name)
    axes.set_yticks(places, labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.axvline(0, color=FAINT, linewidth=0.8)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    for line in range(1, len(labels)):
        axes.axhline(line - 0.5, color=LINE, linewidth=0.6)


def heat(
    figure: Figure,
    axes: Axes,
    values: Array,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    signed: bool,
    form: str,
    label: str,
    scale: float | None = None,
) -> None:
    """Rows by columns as colours; scale: the value with the strongest colour (None: the largest)."""
    values = np.asarray(values, dtype=float)
    largest = float(np.nanmax(np.abs(values), initial=0.0))
    top = scale if scale else largest or 1.0
    mesh = axes.pcolormesh(
        values, cmap=DIVERGING if signed else SEQUENTIAL, vmin=-top if signed else 0.0, vmax=top,
        edgecolors="white", linewidth=0.6,
    )  # fmt: skip
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=45 if len(columns) > 4 else 0, ha="left",
                    rotation_mode="anchor")  # fmt: skip
    axes.xaxis.tick_top()
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.set_ylim(len(rows), 0)
    bare(axes)
    if values.size <= NUMBERED:
        for (i, j), value in np.ndenumerate(values):
            if not math.isfinite(value):  # nothing is there
                continue
            red, green, blue, _ = mesh.to_rgba(value)
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < DARK
            color = "white" if dark else INK
            axes.text(j + 0.5, i + 0.5, format(value, form), ha="center", va="center", fontsize=7.5, color=color)
    beyond = "neither" if largest <= top * (1 + 1e-9) else "both" if signed else "max"
    bar = figure.colorbar(mesh, ax=axes, shrink=0.6, aspect=28, pad=0.02, label=label, extend=beyond)
    bar.outline.set_visible(False)


def table(
    axes: Axes,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    shades: Array,
    strong: Sequence[Sequence[bool]] | None = None,
) -> None:
    """Words in cells, shaded from 0 to 1; strong: which of them are written bold."""
    axes.pcolormesh(np.asarray(shades, dtype=float), cmap=PALE, vmin=0.0, vmax=1.0, edgecolors="white", linewidth=1.0)
    for i, line in enumerate(cells):
        for j, words in enumerate(line):
            weight = "bold" if strong is not None and strong[i][j] else "normal"
            axes.text(j + 0.03, i + 0.5, words, va="center", ha="left", fontsize=8, fontweight=weight, clip_on=True)
    axes.set_xticks(np.arange(len(columns)) + 0.03, columns, ha="left")
    axes.xaxis.tick_top()
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.set_ylim(len(rows), 0)
    bare(axes)


def reconstruction(points: Axes, errors: Axes, y: Array, made: Array, name: str, color: str = BLUE) -> None:
    """What a map makes of the input against what it should, entry by entry, and how the differences are spread."""
    limit = float(np.quantile(np.abs(y), INSIDE)) or 1.0
    beyond = np.maximum(np.abs(y), np.abs(made)) > limit
    points.plot((-limit, limit), (-limit, limit), color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    points.scatter(y[~beyond], made[~beyond], s=9, color=color, alpha=0.65, linewidths=0)
    edge_x, edge_y = (np.clip(x[beyond], -limit, limit) for x in (y, made))
    points.scatter(edge_x, edge_y, s=14, facecolors="none", edgecolors=color, linewidths=0.8, clip_on=False)
    room = 1.04 * limit
    points.set(xlim=(-room, room), ylim=(-room, room), ylabel="entry of J x + c")
    points.set_xlabel(f"entry of the output y (hollow: beyond ±{limit:.3g})")
    points.set_aspect("equal")
    error = float(np.linalg.norm(made - y) / np.linalg.norm(y))
    points.set_title(f"{name}: misses {error:.1e} of y")
    difference = made - y
    errors.hist(difference, bins=41, color=color)
    errors.set(xlabel="J x + c − y", ylabel="entries")
    errors.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
    errors.set_title(f"differences, root mean square {np.sqrt(np.mean(difference**2)):.1e}")


def spectrum(axes: Axes, values: Sequence[float], name: str, color: ColorType, linewidth: float) -> None:
    """Singular values by rank, on a logarithmic scale."""
    ranks = range(1, len(values) + 1)
    axes.plot(ranks, values, color=color, marker="o", markersize=3.5, label=name, linewidth=linewidth)
    logarithmic(axes)
    axes.set(xlabel="rank", ylabel="singular value σ")
    axes.set_xticks(list(ranks)[:: max(1, len(values) // 12)])
    axes.grid(axis="y", which="major")
