"""Pictures of `layers`: the concept grid, dimension, path, shares and direct contributions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes

from ggufjac.analyses.layers import Layers
from ggufjac.maps.within.sites import LAYER
from ggufjac.reports import words
from ggufjac.reports.phrases import map_of, output_of
from ggufjac.reports.plots import shapes
from ggufjac.reports.plots.analysis import names, said
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.style import BLUE, CYCLE, FAINT, GREEN, INK, PURPLE, VERMILION, figure, logarithmic
from ggufjac.reports.plots.text import label

#: Triplets that the grid shows, and what its cells have room for.
TRIPLETS, CELL = 4, 34


def pictures(a: Layers) -> Iterator[Picture]:
    for part in a.parts:
        yield _concepts(a, part, layerwise=False)
        if a.readings[0].layerwise is not None:
            yield _concepts(a, part, layerwise=True)
    yield _stable_ranks(a)
    yield _path(a)
    for part in a.parts:
        yield _shares(a, part)
    yield _contributions(a)


def _suffix(part: str) -> str:
    return "" if part == LAYER else f"-{part}"


def _concepts(a: Layers, part: str, *, layerwise: bool) -> Picture:
    """Layers by triplets: what each left vector writes, shaded by its cosine with the last layer's."""
    readings = a.of_part(part)
    spectra = [reading.layerwise if layerwise else reading.cumulative for reading in readings]
    k = min(TRIPLETS, max(len(s.concepts) for s in spectra if s is not None))
    cells, shades, strong = [], [], []
    for spectrum in spectra:
        assert spectrum is not None
        shown = spectrum.concepts[:k]
        cells.append([f"{c.sigma:.3g}  {said(c.writes, 3, CELL)}" if c.sigma else "·" for c in shown])
        shades.append([c.cosine for c in shown])
        strong.append([bool(c.sigma) and c.writes[0].id == a.target.token.id for c in shown])
    title = f"Concepts of {map_of(part)}" + (" alone" if layerwise else "")
    whence = "what enters the layer" if layerwise else "the tokens"
    about = (
        f"σ and the tokens that the left vectors of the map from {whence} write; blue: |cosine| with the last layer's"
    )
    fig = figure(1.2 + 2.75 * k, 1.4 + 0.235 * len(readings), title, f"{about}; bold: {label(a.target.token)} first")
    axes = fig.add_subplot()
    columns = [words.numbered("u", i) for i in range(1, k + 1)]
    shapes.table(axes, [str(r.layer) for r in readings], columns, cells, np.array(shades), strong)
    axes.set_ylabel("layer")
    return Picture(f"concepts{_suffix(part)}{'-layerwise' if layerwise else ''}", title, fig)


def _stable_ranks(a: Layers) -> Picture:
    title = "Stable ranks by layer"
    both = a.readings[0].layerwise is not None
    fig = figure(9.6 if both else 6.2, 4.0, title, "‖J‖²/σ₁²: how many dimensions a map uses, in effect")
    found = fig.subplots(1, 2 if both else 1, squeeze=False)[0]
    for axes, layerwise in zip(found, (False, True), strict=False):
        for part, color in zip(a.parts, CYCLE, strict=False):
            readings = a.of_part(part)
            spectra = [r.layerwise if layerwise else r.cumulative for r in readings]
            ranks = [s.stable_rank for s in spectra if s is not None]
            axes.plot([r.layer for r in readings], ranks, marker="o", markersize=3, color=color, label=part)
        logarithmic(axes)
        axes.set(xlabel="layer", ylabel="stable rank")
        axes.grid(axis="y", which="major")
        axes.set_title("each layer alone" if layerwise else "from the tokens to the layer")
        if len(a.parts) > 1:
            axes.legend()
    return Picture("stable-ranks", title, fig)


def _path(a: Layers) -> Picture:
    """Layer by layer, how near the leading vectors and the lens are to the end."""
    title = "The path to the prediction"
    readings = a.of_part(a.parts[0])
    fig = figure(7.4, 5.4, title, f"how near each layer is to the last one, and to {label(a.target.token)}")
    above, below = fig.subplots(2, 1, sharex=True)
    at = [r.layer for r in readings]
    above.plot(at, [r.cumulative.concepts[0].cosine for r in readings], color=BLUE, marker="o", markersize=3,
               label="|cosine| of u₁ with the last layer's")  # fmt: skip
    above.plot(at, [r.cumulative.overlap for r in readings], color=VERMILION, marker="s", markersize=3,
               label="share of all leading u in the last layer's span")  # fmt: skip
    above.set(ylim=(-0.03, 1.05), ylabel="from 0 to 1")
    above.grid(axis="y")
    above.legend(loc="upper left")
    # the lens is known at every layer, whichever were read; of what a part writes it is another one
    lens = a.lens_layers if a.parts[0] == LAYER else readings
    below.plot([r.layer for r in lens], [r.rank for r in lens], color=GREEN, marker="o", markersize=3)
    logarithmic(below)
    below.set(xlabel="layer", ylabel=f"rank of {label(a.target.token)} in the lens")
    below.set_ylim(max(r.rank for r in lens) * 1.6, 0.7)
    below.grid(axis="y", which="major")
    for emergence, name in ((a.lens, "the lens"), (a.concept, "u₁")):
        if a.parts[0] == LAYER and emergence.first is not None:
            axes = below if name == "the lens" else above
            axes.axvline(emergence.first, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
            where = (emergence.first, 0.04)
            axes.annotate(f"first in {name}: layer {emergence.first} ", where, ha="right", fontsize=8.5,
                          color=FAINT, xycoords=axes.get_xaxis_transform())  # fmt: skip
    return Picture("path", title, fig)


def _shares(a: Layers, part: str) -> Picture:
    readings = a.of_part(part)
    title = f"What the tokens carry of {output_of(part)}"
    shown = shapes.most([max(abs(r.shares[t]) for r in readings) for t in range(len(a.tokens))])
    values = 100 * np.array([[r.shares[t] for t in shown] for r in readings])
    size = (2.6 + 0.62 * len(shown), 1.9 + 0.215 * len(readings))
    which = shapes.of_all(len(shown), len(a.tokens))
    fig = figure(*size, title, f"shares in percent; with the constants' a row adds up to 100{which}")
    axes = fig.add_subplot()
    rows = [str(r.layer) for r in readings]
    signed = bool((values < -1).any())
    scale = min(100.0, float(np.abs(values).max()))
    shapes.heat(fig, axes, values, rows, names(a.tokens, shown), signed=signed, form=".0f", label="%", scale=scale)
    axes.set_ylabel("layer")
    return Picture(f"shares{_suffix(part)}", title, fig)


def _contributions(a: Layers) -> Picture:
    """What every block gives to the logit, and how the sum grows."""
    title = f"Direct contributions to the logit of {label(a.target.token)}"
    total = sum(write.logit for write in a.writes)
    fig = figure(8.6, 4.6, title, f"what each block gives past all later ones; they add up to {total:+.2f}")
    axes = fig.add_subplot()
    parts = list(dict.fromkeys(write.part for write in a.writes if write.layer is not None))
    layers = sorted({write.layer for write in a.writes if write.layer is not None})
    _blocks(axes, a, parts, layers)
    outside = sum(w.logit for w in a.writes if w.layer is None)
    sums = outside + np.cumsum([sum(w.logit for w in a.writes if w.layer == layer) for layer in layers])
    axes.plot([-1, *layers], [outside, *sums], color=INK, linewidth=1.4, marker=".", label="sum so far")
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.set(xlabel="layer (before them: the embedding and constants)", ylabel="logit")
    axes.legend()
    return Picture("contributions", title, fig)


def _blocks(axes: Axes, a: Layers, parts: Sequence[str], layers: Sequence[int]) -> None:
    width = 0.8 / max(1, len(parts))
    for i, (part, color) in enumerate(zip(parts, (BLUE, VERMILION, GREEN, PURPLE) * 4, strict=False)):
        values = [sum(w.logit for w in a.writes if (w.layer, w.part) == (layer, part)) for layer in layers]
        axes.bar(np.array(layers) + (i - (len(parts) - 1) / 2) * width, values, 0.92 * width, color=color, label=part)
    axes.bar([-1], [sum(w.logit for w in a.writes if w.layer is None)], 0.8, color=FAINT)
