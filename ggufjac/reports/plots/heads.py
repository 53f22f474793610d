"""Pictures of `attribute --heads`: what every head gives, by layer, and where those that give most look."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ggufjac.analyses.attribute import Attribution
from ggufjac.reports.heads import name
from ggufjac.reports.phrases import question
from ggufjac.reports.plots import shapes
from ggufjac.reports.plots.analysis import names
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.style import figure
from ggufjac.reports.plots.text import phrase


def pictures(a: Attribution) -> Iterator[Picture]:
    """Both, where heads were asked for."""
    if a.heads:
        yield _heads(a)
        yield _attention(a)


def _heads(a: Attribution) -> Picture:
    """Writes with heads by head; a layer with fewer of them than others has no cells at its end."""
    title = f"Heads behind {phrase(question(a.questions[0]))}"
    most = max(len(layer.totals) for layer in a.layer_heads)
    values = np.full((len(a.layer_heads), most), np.nan)
    for row, layer in zip(values, a.layer_heads, strict=True):
        row[: len(layer.totals)] = layer.totals
    fig = figure(
        2.6 + 0.5 * most, 1.9 + 0.215 * len(values), title, "what each head's write gives, past all later layers"
    )
    axes = fig.add_subplot()
    rows = [str(layer.layer) for layer in a.layer_heads]
    columns = [str(head) for head in range(most)]
    shapes.heat(fig, axes, values, rows, columns, signed=True, form="+.2f", label="logit")
    axes.set_ylabel("layer")
    return Picture("heads", title, fig)


def _attention(a: Attribution) -> Picture:
    title = "Where the leading heads look"
    every = np.array([head.weights for head in a.heads])
    shown = shapes.most(np.abs(every).max(0).tolist())
    to = phrase(question(a.questions[0]))
    about = f"from the last position, those that give most to {to}{shapes.of_all(len(shown), len(a.tokens))}"
    fig = figure(3.0 + 0.62 * len(shown), 2.0 + 0.27 * len(every), title, about)
    axes = fig.add_subplot()
    rows = [f"{name(head)}   {head.total:+.2f}" for head in a.heads]
    columns = names((row.token for row in a.tokens), shown)
    signed, label = bool((every < 0).any()), "probability" if all(head.shares for head in a.heads) else "weight"
    shapes.heat(fig, axes, every[:, shown], rows, columns, signed=signed, form=".2f", label=label)
    axes.set_ylabel("head")
    return Picture("attention", title, fig)
