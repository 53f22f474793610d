"""A picture of `lens swap`: the likeliest next tokens without the swap and with it."""

from __future__ import annotations

from collections.abc import Iterator

from ggufjac.analyses.lens.swap import LensSwap
from ggufjac.reports.plots import shapes
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.style import figure
from ggufjac.reports.plots.text import label

#: Predictions of each side.
SHOWN = 8


def pictures(s: LensSwap) -> Iterator[Picture]:
    title = "The next token, plain and swapped"
    fig = figure(8.2, 3.6, title, f"KL {s.divergence:.3f} nats; price {s.price:+.2f} nats a token")
    for axes, name, found in zip(
        fig.subplots(1, 2), ("plain", "swapped"), (s.predictions, s.swapped_predictions), strict=True
    ):
        shapes.bars(axes, [label(p.token) for p in found[:SHOWN]], [100 * p.probability for p in found[:SHOWN]], ".1f")
        axes.set_title(name)
        axes.set_xlabel("probability, %")
    yield Picture("next", title, fig)
