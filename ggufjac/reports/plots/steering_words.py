"""Pictures of `steer --say`: what more strength does."""

from __future__ import annotations

from collections.abc import Iterator

from ggufjac.analyses.steer.words import SteeredWords
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.style import BLUE, FAINT, VERMILION, figure
from ggufjac.reports.plots.text import label


def pictures(s: SteeredWords) -> Iterator[Picture]:
    """The gain and the price, by strength."""
    title = f"Steering towards words at layer {s.layer}"
    named = ", ".join(label(piece) for piece in s.words[:6])
    fig = figure(9.4, 4.0, title, f"{named}; price: KL of the next token on ordinary texts")
    left, right = fig.subplots(1, 2)
    points = sorted([(0.0, 0.0, 0.0), *((one.strength, one.gain, one.price) for one in s.steered)])
    at, gains, prices = zip(*points, strict=True)
    left.plot(at, gains, marker="o", markersize=4, color=BLUE)
    right.plot(at, prices, marker="o", markersize=4, color=VERMILION)
    right.axhline(s.price, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    for axes, name in ((left, "gain"), (right, "price")):
        axes.set(xlabel="strength (0: not steered)", ylabel=f"{name}, nats a token")
        axes.grid(axis="y")
        if s.best is not None:
            axes.axvline(s.best, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    yield Picture("strengths", title, fig)
