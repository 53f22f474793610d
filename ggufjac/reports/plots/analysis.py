"""Pictures of `analyze`: terms of the logit, what tokens write and read, spectra, stable ranks, the reconstruction."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ggufjac.analyses.analyze import Analysis, TokenRow
from ggufjac.analyses.common.tokens import Piece
from ggufjac.reports.constants import mostly
from ggufjac.reports.plots import shapes
from ggufjac.reports.plots.account import words
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.style import BLUE, FAINT, INK, SEQUENTIAL, figure
from ggufjac.reports.plots.text import label, shortened

#: Triplets of each token that the tables of tokens show, tokens of each, and what a cell has room for.
TRIPLETS, WORDS, CELL = 4, 3, 34


def pictures(a: Analysis) -> Iterator[Picture]:
    yield words(a.accounts[0], a.words, [row.token for row in a.tokens])
    yield _terms(a)
    if any(row.triplets for row in a.tokens):
        yield _table(a, "writes", "What the input tokens write", "left singular vectors of each token's own map")
        yield _table(a, "reads", "What the input tokens read", "right singular vectors of each token's own map")
        yield _stable_ranks(a)
    if a.combined:
        yield _triplets(a)
    if not math.isnan(a.combined_stable_rank):
        yield _spectra(a)
    if {"output", "rebuilt"} <= a.arrays.keys():
        yield _reconstruction(a)


def names(tokens: Iterable[Piece], which: Iterable[int]) -> list[str]:
    """Tokens by number and text, as labels of an axis."""
    listed = list(tokens)
    return [f"{label(listed[t])}  {t}" for t in which]


def said(pieces: Sequence[Piece], n: int = WORDS, longest: int = CELL) -> str:
    """The first n tokens in one cell."""
    return shortened(" · ".join(label(piece, 14) for piece in pieces[:n]), longest)


def _terms(a: Analysis) -> Picture:
    shown = shapes.most([row.logit for row in a.tokens])
    labels = names((row.token for row in a.tokens), shown)
    values = [a.tokens[t].logit for t in shown]
    if a.constant_logit:
        labels, values = [*labels, mostly(a.constant_sources)], [*values, a.constant_logit]
    title = f"Terms of the logit of {label(a.target.token)}"
    which = shapes.of_all(len(shown), len(a.tokens))
    fig = figure(6.4, 1.3 + 0.3 * len(values), title, f"exact; they add up to {a.target.logit:+.2f}{which}")
    axes = fig.add_subplot()
    shapes.bars(axes, labels, values)
    axes.set_xlabel("logit")
    return Picture("terms", title, fig)


def _table(a: Analysis, name: str, title: str, subtitle: str) -> Picture:
    shown = shapes.most([row.logit for row in a.tokens])
    rows = [a.tokens[t] for t in shown]
    k = min(TRIPLETS, max(len(row.triplets) for row in rows))
    cells = [[said(getattr(t, name)) for t in row.triplets[:k]] for row in rows]
    shades = [[t.sigma / row.triplets[0].sigma if row.triplets[0].sigma else 0.0 for t in row.triplets[:k]]
              for row in rows]  # fmt: skip
    fig = figure(1.8 + 2.3 * k, 1.5 + 0.3 * len(rows), title, f"{subtitle}; shaded by σ beside the token's largest")
    axes = fig.add_subplot()
    columns = [f"{'u' if name == 'writes' else 'v'}{i}" for i in range(1, k + 1)]
    shapes.table(axes, names((row.token for row in a.tokens), shown), columns, cells, np.array(shades))
    return Picture(name, title, fig)


def _triplets(a: Analysis) -> Picture:
    title = "Leading triplets of the whole map"
    rows = [f"{i}   σ {t.sigma:.3g}" for i, t in enumerate(a.combined, 1)]
    cells = [
        [said(t.writes), f"{label(a.tokens[t.position].token)} {100 * t.weight:.0f}%", said(t.reads)]
        for t in a.combined
    ]
    fig = figure(11.5, 1.5 + 0.3 * len(rows), title, "words at the left, what each gives to the logit at the right")
    left, right = fig.subplots(1, 2, width_ratios=(3, 1))
    columns = ["writes (u)", "mostly from", "reads there (v)"]
    shapes.table(left, rows, columns, cells, np.zeros((len(rows), 3)))
    shapes.bars(right, [""] * len(rows), [t.logit for t in a.combined])
    right.set_xlabel(f"logit of {label(a.target.token)}")
    return Picture("triplets", title, fig)


def _stable_ranks(a: Analysis) -> Picture:
    title = "Stable ranks of the input tokens' maps"
    shown = [t for t in shapes.most([row.logit for row in a.tokens]) if not math.isnan(a.tokens[t].stable_rank)]
    how = "‖J‖²/σ₁²" + ("" if a.norms_exact else ", norms from random probes")
    fig = figure(6.4, 1.3 + 0.3 * len(shown), title, f"{how}; {a.combined_stable_rank:.3g} of all together")
    axes = fig.add_subplot()
    labels = names((row.token for row in a.tokens), shown)
    shapes.bars(axes, labels, [a.tokens[t].stable_rank for t in shown], ".3g")
    axes.set_xlabel("stable rank")
    return Picture("stable-ranks", title, fig)


def _spectra(a: Analysis) -> Picture:
    title = "Spectra"
    fig = figure(6.8, 4.4, title, "leading singular values of every token's map, and of the map of all together")
    axes = fig.add_subplot()
    own: list[tuple[int, TokenRow]] = [(t, row) for t, row in enumerate(a.tokens) if row.triplets]
    shown = [own[i] for i in shapes.most([row.triplets[0].sigma for _, row in own], 10)]
    for i, (t, row) in enumerate(shown):
        color = SEQUENTIAL(0.3 + 0.6 * i / max(1, len(shown) - 1))
        shapes.spectrum(axes, [x.sigma for x in row.triplets], f"{label(row.token)}  {t}", color, linewidth=1.1)
    sigmas = a.arrays["combined.S"].tolist() if "combined.S" in a.arrays else [t.sigma for t in a.combined]
    shapes.spectrum(axes, sigmas, "all together", INK, linewidth=2.0)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), labelcolor=INK)
    if len(own) > len(shown):
        axes.set_title(f"the {len(shown)} tokens with the largest σ₁ of {len(own)}", color=FAINT)
    return Picture("spectra", title, fig)


def _reconstruction(a: Analysis) -> Picture:
    title = "What the linear map makes of the input, and the model's output"
    fig = figure(9.2, 4.4, title, f"{a.dtype}, {len(a.arrays['output'])} entries of the final state")
    points, errors = fig.subplots(1, 2)
    y, made = (a.arrays[name].double().cpu().numpy() for name in ("output", "rebuilt"))
    shapes.reconstruction(points, errors, y, made, "detached Jacobian", BLUE)
    return Picture("reconstruction", title, fig)
