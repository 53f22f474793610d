"""Pictures of `compare --by`: where quantisation hurts, over layers and types of tensors, and how that adds up."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ggufjac.analyses.compare.sums import layer_name
from ggufjac.analyses.compare.tensors import TensorComparison
from ggufjac.readable import readable
from ggufjac.reports.plots import shapes
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.style import BLUE, FAINT, VERMILION, figure
from ggufjac.reports.plots.text import drawable

#: Tensors that have a bar.
BARS = 20


def pictures(c: TensorComparison) -> Iterator[Picture]:
    yield _map(c)
    yield _path(c)
    yield _worst(c)


def _between(c: TensorComparison) -> str:
    one, other = (drawable(readable(facts.file.removesuffix(".gguf"))) for facts in (c.one, c.other))
    return f"from {one} to {other}"


def _map(c: TensorComparison) -> Picture:
    """Every tensor's KL, by layer and type."""
    title = "What each tensor's quantisation did to the prediction"
    layers = list(dict.fromkeys(term.layer for term in c.tensors))
    parts = list(dict.fromkeys(term.part for term in c.tensors))
    values = np.full((len(layers), len(parts)), np.nan)
    for term in c.tensors:
        at = layers.index(term.layer), parts.index(term.part)
        values[at] = term.kl if np.isnan(values[at]) else values[at] + term.kl
    fig = figure(
        2.6 + 0.75 * len(parts),
        2.4 + 0.215 * len(layers),
        title,
        f"{_between(c)}; together {c.kl:.4f} nats; above 0 it hurts",
    )
    axes = fig.add_subplot()
    rows = [str(layer) if 0 <= layer < c.n_layer else layer_name(layer, c.n_layer) for layer in layers]
    shapes.heat(
        fig,
        axes,
        values,
        rows,
        [drawable(readable(part)) for part in parts],
        signed=True,
        form="+.3f",
        label="KL, nats",
    )
    axes.set_ylabel("layer")
    return Picture("tensors", title, fig)


def _path(c: TensorComparison) -> Picture:
    """KL, tensor by tensor from the one file to the other."""
    title = "How KL grows along the network"
    fig = figure(8.2, 4.2, title, _between(c))
    axes = fig.add_subplot()
    sums = np.cumsum([0.0, *(term.kl for term in c.tensors)])
    axes.step(range(len(sums)), sums, where="pre", color=BLUE, linewidth=1.4, label="the second file's tensors so far")
    if c.limit is not None:
        axes.axhline(c.limit, color=VERMILION, linewidth=1, linestyle=(0, (4, 3)), label="allowed")
    axes.axhline(0, color=FAINT, linewidth=0.8)
    layers = [term.layer for term in c.tensors]
    starts = [i for i, layer in enumerate(layers) if i == 0 or layer != layers[i - 1]]
    kept = starts[:: max(1, len(starts) // 14)]
    names = [str(layers[i]) if 0 <= layers[i] < c.n_layer else layer_name(layers[i], c.n_layer) for i in kept]
    axes.set_xticks(kept, names)
    axes.set(xlabel="tensors, by layer", ylabel="KL from the first file, nats")
    axes.legend()
    return Picture("path", title, fig)


def _worst(c: TensorComparison) -> Picture:
    """The tensors that hurt most."""
    ranked = sorted(c.tensors, key=lambda term: -term.kl)[:BARS]
    title = "Tensors that hurt most" + shapes.of_all(len(ranked), len(c.tensors), "tensors")
    fig = figure(8.2, 1.6 + 0.26 * len(ranked), title, "by how much each moves KL, nats")
    names = [
        f"{drawable(readable(term.name.removesuffix('.weight')))}  {term.type_one}→{term.type_other}" for term in ranked
    ]
    shapes.bars(fig.add_subplot(), names, [term.kl for term in ranked], "+.4f")
    return Picture("worst", title, fig)
