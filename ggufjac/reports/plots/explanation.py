"""Pictures of `verify --explain`: which roundings of llama.cpp moved the prediction, and how the sum grows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ggufjac.analyses.judge.explain import Explanation
from ggufjac.reports.phrases import followed
from ggufjac.reports.plots import shapes
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.style import BLUE, FAINT, VERMILION, figure
from ggufjac.reports.plots.text import phrase


def pictures(e: Explanation) -> Iterator[Picture]:
    yield _path(e)
    if e.steps:
        yield _steps(e)


def _path(e: Explanation) -> Picture:
    """The number that is followed, step by step from exact arithmetic to llama.cpp."""
    title = f"How rounding moves {phrase(followed(e))}"
    sums = e.exact + np.cumsum([0.0, *(step.moves for step in e.steps)])
    fig = figure(8.2, 4.2, title, f"from {e.exact:+.4f} in exact arithmetic to {e.theirs:+.4f} in llama.cpp")
    axes = fig.add_subplot()
    axes.step(range(len(sums)), sums, where="post", color=BLUE, linewidth=1.4, label="llama.cpp's steps up to here")
    axes.axhline(e.theirs, color=VERMILION, linewidth=1, linestyle=(0, (4, 3)), label="llama.cpp")
    if e.other is not None:
        axes.axhline(0, color=FAINT, linewidth=0.8)
    layers = [step.layer for step in e.steps]
    starts = [i for i, layer in enumerate(layers) if i == 0 or layer != layers[i - 1]]
    kept = starts[:: max(1, len(starts) // 14)]
    axes.set_xticks(kept, [str(layers[i]) if layers[i] >= 0 else "end" for i in kept])
    axes.set(xlabel="steps of the network, by layer", ylabel="logits")
    axes.legend()
    return Picture("path", title, fig)


def _steps(e: Explanation) -> Picture:
    title = f"What each step's rounding does to {phrase(followed(e))}"
    layers = list(dict.fromkeys(step.layer for step in e.steps))
    parts = list(dict.fromkeys(step.part for step in e.steps))
    values = np.zeros((len(layers), len(parts)))
    for step in e.steps:
        values[layers.index(step.layer), parts.index(step.part)] += step.moves
    fig = figure(2.4 + 0.75 * len(parts), 2.4 + 0.215 * len(layers), title, "in logits; with the rest they add up")
    axes = fig.add_subplot()
    rows = [str(layer) if layer >= 0 else "end" for layer in layers]
    shapes.heat(fig, axes, values, rows, parts, signed=True, form="+.3f", label="logits")
    axes.set_ylabel("layer")
    return Picture("steps", title, fig)
