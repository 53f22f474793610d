"""Pictures of `attribute`: terms by token, token by layer, token by component, where the sum is on its way, heads."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ggufjac.analyses.attribute import Attribution
from ggufjac.reports.constants import mostly
from ggufjac.reports.phrases import question
from ggufjac.reports.plots import heads, shapes
from ggufjac.reports.plots.account import words
from ggufjac.reports.plots.analysis import names, said
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.style import figure
from ggufjac.reports.plots.text import phrase
from ggufjac.reports.words import worth
from ggufjac.rules import rules_called


def pictures(a: Attribution) -> Iterator[Picture]:
    yield words(a.accounts[0], a.words, [row.token for row in a.tokens])
    yield _terms(a)
    if a.writes:
        yield _layers(a)
        yield _components(a)
        yield _carried(a)
    yield from heads.pictures(a)


def _shown(a: Attribution) -> list[int]:
    return shapes.most([terms[0] for terms in a.given])


def _terms(a: Attribution) -> Picture:
    title = f"Terms of {phrase(question(a.questions[0]))}"
    shown = _shown(a)
    below = {
        name: values
        for name, values in ((mostly(a.constant_sources), a.apart), ("not credited", a.missed))
        if any(map(worth, values))
    }
    labels = names((row.token for row in a.tokens), shown) + list(below)
    n = len(a.questions)
    exact = "exact terms" if rules_called(a.rules).reconstructs else f"terms by rules {a.rules!r}"
    about = f"{exact} of each input token{shapes.of_all(len(shown), len(a.tokens))}"
    fig = figure(2.2 + 2.8 * n, 1.7 + 0.3 * len(labels), title if n == 1 else "Terms of the likeliest answers", about)
    for i, axes in enumerate(fig.subplots(1, n, sharey=True, squeeze=False)[0]):
        values = [a.given[t][i] for t in shown] + [each[i] for each in below.values()]
        shapes.bars(axes, labels, values)
        axes.set_title(f"{phrase(question(a.questions[i]))}: {a.questions[i].value:+.2f}")
    return Picture("terms", title, fig)


def _layers(a: Attribution) -> Picture:
    title = f"Paths to {phrase(question(a.questions[0]))}"
    shown = _shown(a)
    layers = [None, *sorted({write.layer for write in a.writes if write.layer is not None})]
    values = np.array(
        [[sum(w.tokens[t] for w in a.writes if w.layer == layer) for t in shown] for layer in layers], dtype=float
    )
    fig = figure(2.6 + 0.62 * len(shown), 1.9 + 0.215 * len(layers), title, "by first token and last layer written")
    axes = fig.add_subplot()
    rows = ["direct" if layer is None else str(layer) for layer in layers]
    columns = names((row.token for row in a.tokens), shown)
    shapes.heat(fig, axes, values, rows, columns, signed=True, form="+.2f", label="logit", scale=_scale(values))
    axes.set_ylabel("layer of the last write")
    return Picture("layers", title, fig)


def _components(a: Attribution) -> Picture:
    title = f"Components of {phrase(question(a.questions[0]))}"
    shown = _shown(a)
    values = np.array([[c.tokens[t] for t in shown] for c in a.components])
    size = (4.4 + 0.62 * len(shown), 2.0 + 0.27 * len(a.components))
    fig = figure(*size, title, "what each leading triplet of the map gives, by token")
    axes = fig.add_subplot()
    rows = [f"{said(c.triplet.writes, 2, 24)}   σ{i}" for i, c in enumerate(a.components, 1)]
    columns = names((row.token for row in a.tokens), shown)
    shapes.heat(fig, axes, values, rows, columns, signed=True, form="+.2f", label="logit", scale=_scale(values))
    return Picture("components", title, fig)


def _carried(a: Attribution) -> Picture:
    """Positions of the states that enter the layers, and of the last one; under exact rules every row adds up."""
    title = f"Where {phrase(question(a.questions[0]))} is on its way"
    values = np.array(a.carried)
    shown = shapes.most(np.abs(values[:, :-1]).max(0).tolist())
    if shown[-1] != len(a.tokens) - 1:  # all of it ends at the last position
        shown = [*shown[:-1], len(a.tokens) - 1]
    size = (2.6 + 0.62 * len(shown), 1.9 + 0.215 * len(values))
    adds = "; with the constants' every row adds up to it" if rules_called(a.rules).reconstructs else ""
    fig = figure(*size, title, f"what it draws from each position{adds}")
    axes = fig.add_subplot()
    rows = [f"into {i}" for i in range(len(values) - 1)] + ["out"]
    columns = names((row.token for row in a.tokens), shown)
    cells = values[:, shown]
    shapes.heat(fig, axes, cells, rows, columns, signed=True, form="+.1f", label="logit", scale=_scale(cells))
    axes.set_ylabel("state")
    return Picture("carried", title, fig)


def _scale(values: shapes.Array) -> float:
    """The largest value outside of the first token, which would leave all others pale."""
    return float(np.abs(values[:, 1:] if values.shape[1] > 1 else values).max())
