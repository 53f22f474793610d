"""Pictures of `ablate`: what is lost without each token and component, by the map and by the model."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ggufjac.analyses.ablate import Ablation, ComponentAblation
from ggufjac.reports.plots import shapes
from ggufjac.reports.plots.analysis import said
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.style import BLUE, FAINT, figure
from ggufjac.reports.plots.text import label


def pictures(a: Ablation) -> Iterator[Picture]:
    yield _tokens(a)
    yield _components(a)
    yield _agreement(a)


def _tokens(a: Ablation) -> Picture:
    title = f"ln p of {label(a.target.token)} without each token"
    fig = figure(
        7.0, 1.7 + 0.62 * len(a.tokens), title, f"its change in nats{shapes.of_all(len(a.tokens), a.n_tokens)}"
    )
    axes = fig.add_subplot()
    series = [
        ("linear map without its term", [row.linear.change for row in a.tokens]),
        ("derivative", [row.derivative for row in a.tokens]),
        ("model with its vector 0", [row.zeroed.change for row in a.tokens]),
        ("model without it", [math.nan if row.left_out is None else row.left_out.change for row in a.tokens]),
    ]
    shapes.grouped(axes, [f"{label(row.token)}  {row.position}" for row in a.tokens], series)
    axes.set_xlabel("change of ln p")
    fig.legend(loc="outside lower center", ncols=2)
    return Picture("tokens", title, fig)


def _components(a: Ablation) -> Picture:
    title = f"ln p of {label(a.target.token)} without leading components"
    fig = figure(7.4, 1.9 + 0.5 * len(a.components), title, "its change in nats")
    axes = fig.add_subplot()
    series = [
        ("linear map", [row.linear.change for row in a.components]),
        ("derivative", [row.derivative for row in a.components]),
        ("model, projected out of its input", [row.projected.change for row in a.components]),
    ]
    shapes.grouped(axes, [_name(row) for row in a.components], series)
    axes.set_xlabel("change of ln p")
    fig.legend(loc="outside lower center", ncols=3)
    return Picture("components", title, fig)


def _name(row: ComponentAblation) -> str:
    if row.first != row.last:
        return f"{row.first} to {row.last} together"
    return f"{said(row.triplet.writes, 2, 24)}   σ{row.first}"


def _agreement(a: Ablation) -> Picture:
    """Token by token, what the linear map says against what the model does."""
    title = "The linear map's changes and the model's"
    rows = [row for row in a.tokens if math.isfinite(row.zeroed.change)]
    fig = figure(5.6, 5.4, title, f"ln p of {label(a.target.token)} with one token's vector set to 0, in nats")
    axes = fig.add_subplot()
    for row in rows:
        where = (row.linear.change, row.zeroed.change)
        axes.scatter(*where, s=24, color=BLUE, linewidths=0)
        axes.annotate(label(row.token), where, xytext=(4, 4), textcoords="offset points", fontsize=8.5)
    axes.axline((0, 0), slope=1, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.axhline(0, color=FAINT, linewidth=0.6)
    axes.axvline(0, color=FAINT, linewidth=0.6)
    axes.margins(0.12)
    axes.set(xlabel="the linear map without its term", ylabel="the model with its vector 0")
    return Picture("agreement", title, fig)
