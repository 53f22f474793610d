"""Pictures of `steer`: what more strength does, and how the layer was chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes

from ggufjac.analyses.steer.steering import Steered
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.style import BLUE, FAINT, GREEN, VERMILION, figure
from ggufjac.reports.plots.text import label


def pictures(s: Steered) -> Iterator[Picture]:
    yield _strengths(s)
    if s.candidates:
        yield _layers(s)


def _strengths(s: Steered) -> Picture:
    """The concept's probability, its tokens, and what they cost, by strength."""
    title = f"Steering at layer {s.layer}"
    words = ", ".join(label(piece) for piece in s.counts[:6])
    fig = figure(9.4, 4.0, title, f"concept tokens: {words}{', …' if len(s.counts) > 6 else ''}")
    left, right = fig.subplots(1, 2)
    texts = sorted((s.unsteered, *s.steered), key=lambda text: text.strength)
    at = [text.strength for text in texts]
    _line(left, at, [100 * text.mass for text in texts], "mean probability", BLUE)
    shares = [100 * text.counted / max(1, len(text.tokens)) for text in texts]
    _line(left, at, shares, "share of the written tokens", GREEN)
    left.set(xlabel="strength λ (0: not steered)", ylabel="the concept's tokens, %")
    left.legend()
    _line(right, at, [text.likelihood for text in texts], "under the model as it is", VERMILION)
    _line(right, at, [text.own for text in texts], "under the steered model", FAINT)
    right.set(xlabel="strength λ (0: not steered)", ylabel="mean ln p of the written tokens")
    right.legend()
    return Picture("strengths", title, fig)


def _line(axes: Axes, x: Sequence[float], y: Sequence[float], name: str, color: str) -> None:
    axes.plot(x, y, marker="o", markersize=4, color=color, label=name)
    axes.grid(axis="y")


def _layers(s: Steered) -> Picture:
    """What each candidate layer gains at the same price, and the strength that takes."""
    title = "How the layer was chosen"
    about = (
        f"every layer pushed until it costs {max(c.price for c in s.candidates):.2g} nats per token, or as far as tried"
    )
    fig = figure(7.6, 4.8, title, about)
    above, below = fig.subplots(2, 1, sharex=True)
    at = [c.layer for c in s.candidates]
    _line(above, at, [c.gain for c in s.candidates], "gain", BLUE)
    above.set_ylabel("gain in ln p of the\nconcept's tokens, nats")
    _line(below, at, [c.strength for c in s.candidates], "strength", GREEN)
    below.set(xlabel="layer", ylabel="strength λ")
    for axes in (above, below):
        axes.axvline(s.layer, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    return Picture("layers", title, fig)
