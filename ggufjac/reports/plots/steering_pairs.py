"""Pictures of `steer --positive --negative`: what more strength does, and where the sets differ."""

from __future__ import annotations

from collections.abc import Iterator

from ggufjac.analyses.steer.pairs import SteeredPairs
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.strengths import strengths
from ggufjac.reports.plots.style import BLUE, FAINT, GREEN, VERMILION, figure

COLORS = {"mean": BLUE, "pca": GREEN, "map": VERMILION}


def pictures(s: SteeredPairs) -> Iterator[Picture]:
    if not s.ablated:
        yield _strengths(s)
    yield _layers(s)


def _strengths(s: SteeredPairs) -> Picture:
    """The gain and the price, by strength."""
    title = f"Steering at layer {s.layer}"
    whose = "the counted tokens" if s.measured == "tokens" else "the positive texts"
    about = f"gain: of {whose}; price: KL of the next token on ordinary texts"
    return strengths(title, about, s.steered, s.price, s.best)


def _layers(s: SteeredPairs) -> Picture:
    """How well each layer's directions tell held-out texts."""
    title = "Where the two sets differ"
    fig = figure(7.6, 4.0, title, f"texts that a direction was not made from; layer {s.layer} is used")
    axes = fig.subplots()
    for kind, color in COLORS.items():
        here = sorted((one.layer, one.effect) for one in s.separations if one.kind == kind)
        if here:
            axes.plot(*zip(*here, strict=True), marker="o", markersize=3, color=color, label=kind)
    axes.axvline(s.layer, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set(xlabel="layer", ylabel="distance over spread")
    axes.grid(axis="y")
    axes.legend()
    return Picture("separation", title, fig)
