"""The picture of what more strength does to a text that is steered."""

from __future__ import annotations

from collections.abc import Sequence

from ggufjac.analyses.steer.writing import PushedText
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.style import BLUE, FAINT, VERMILION, figure


def strengths(title: str, about: str, steered: Sequence[PushedText], price: float, best: float | None) -> Picture:
    """The gain and the price of every strength, with the price that is allowed and the strength that it allows."""
    fig = figure(9.4, 4.0, title, about)
    left, right = fig.subplots(1, 2)
    points = sorted([(0.0, 0.0, 0.0), *((one.strength, one.gain, one.price) for one in steered)])
    at, gains, prices = zip(*points, strict=True)
    left.plot(at, gains, marker="o", markersize=4, color=BLUE)
    right.plot(at, prices, marker="o", markersize=4, color=VERMILION)
    right.axhline(price, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    for axes, name in ((left, "gain"), (right, "price")):
        axes.set(xlabel="strength (0: not steered)", ylabel=f"{name}, nats a token")
        axes.grid(axis="y")
        if best is not None:
            axes.axvline(best, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    return Picture("strengths", title, fig)
