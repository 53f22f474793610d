"""Pictures of `patch`: what every place restores, in real runs and by estimates, and the one against the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ggufjac.analyses.patch import PatchedPart, Patching
from ggufjac.analyses.restored import PatchedHeads
from ggufjac.reports.phrases import patched as phrase
from ggufjac.reports.plots import shapes
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.style import CYCLE, FAINT, figure
from ggufjac.reports.plots.text import label

#: Positions of a picture at most, those where the part restores the most.
POSITIONS = 24


def pictures(a: Patching) -> Iterator[Picture]:
    for part in a.parts:
        yield _grids(a, part)
    if a.heads is not None:
        yield _heads(a, a.heads)
    if any(part.estimates for part in a.parts):
        yield _scatter(a)


def _heads(a: Patching, heads: PatchedHeads) -> Picture:
    """Layers by heads, the estimates below the real runs, on one scale."""
    grids = [("real runs", heads.restored), *((f"estimate, {e.rules}", e.restored) for e in heads.estimates)]
    title = "Restored by heads at all patched positions"
    n = max(map(len, heads.restored))
    fig = figure(
        2.8 + 0.31 * n, 1.0 + len(grids) * (0.95 + 0.24 * len(heads.layers)), title,
        f"percent of {_asked(a)}; layers by heads",
    )  # fmt: skip
    rows, columns = [str(layer) for layer in heads.layers], [str(head) for head in range(n)]
    for axes, (name, values) in zip(fig.subplots(len(grids), 1, squeeze=False)[:, 0], grids, strict=True):
        whole = np.array([[*line, *[np.nan] * (n - len(line))] for line in values])
        percent = np.round(100 * whole) + 0.0  # and no -0
        shapes.heat(fig, axes, percent, rows, columns, signed=True, form=".0f", label="", scale=100.0)
        axes.set_xlabel(name, loc="left")
    return Picture("heads", title, fig)


def _grids(a: Patching, part: PatchedPart) -> Picture:
    """Positions by layers, the estimates below the real runs, on one scale."""
    real = np.array(part.restored).T
    shown = shapes.most([float(row) for row in np.abs(real).max(1)], POSITIONS)
    grids = [("real runs", real), *((f"estimate, {e.rules}", np.array(e.restored).T) for e in part.estimates)]
    title = f"Restored by {phrase(part.part)}{shapes.of_all(len(shown), len(a.positions), 'positions')}"
    columns = [str(layer) for layer in part.layers]
    fig = figure(
        2.8 + 0.31 * len(columns), 1.0 + len(grids) * (0.95 + 0.24 * len(shown)), title,
        f"percent of {_asked(a)}; positions by layers",
    )  # fmt: skip
    for axes, (name, values) in zip(fig.subplots(len(grids), 1, squeeze=False)[:, 0], grids, strict=True):
        percent = np.round(100 * values[shown]) + 0.0  # and no -0
        shapes.heat(fig, axes, percent, _tokens(a, shown), columns, signed=True, form=".0f", label="", scale=100.0)
        axes.set_xlabel(name, loc="left")
    return Picture(part.part, title, fig)


def _tokens(a: Patching, shown: Sequence[int]) -> list[str]:
    return [f"{label(a.tokens[a.positions[j]].clean)}  {a.positions[j]}" for j in shown]


def _asked(a: Patching) -> str:
    """The difference that is restored."""
    target = label(a.target.token)
    what = f"ln p of {target}" if a.against is None else f"{target} over {label(a.against.token)}"
    return f"the difference of {what}, {a.clean_metric:+.2f} against {a.corrupt_metric:+.2f}"


def _scatter(a: Patching) -> Picture:
    """What the estimates say against what the real runs do, part by part, and of heads."""
    every = [(phrase(part.part), part.restored, part.estimates) for part in a.parts]
    if a.heads is not None:
        every.append(("what one head reads", a.heads.restored, a.heads.estimates))
    title = "What one sweep foretells of the real runs"
    fig = figure(1.0 + 3.6 * len(every), 4.4, title, f"percent of {_asked(a)}; a point for every place")
    beside = fig.subplots(1, len(every), squeeze=False)[0]
    for axes, (what, real, estimates) in zip(beside, every, strict=True):
        for estimate, color in zip(estimates, CYCLE * len(estimates), strict=False):
            name = "—" if estimate.correlation is None else f"{estimate.correlation:.2f}"
            axes.scatter(
                _percent(estimate.restored), _percent(real), s=12, color=color, alpha=0.7, linewidths=0,
                label=f"{estimate.rules} {name}",
            )  # fmt: skip
        axes.axline((0, 0), slope=1, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set(xlabel="estimate", title=what)
        axes.legend(fontsize=8)
    beside[0].set_ylabel("real runs")
    return Picture("scatter", title, fig)


def _percent(restored: Sequence[Sequence[float]]) -> list[float]:
    """All cells of a grid, one after the other."""
    return [100 * value for line in restored for value in line]
