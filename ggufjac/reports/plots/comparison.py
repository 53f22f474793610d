"""Pictures of `compare`: what every pair of sides shares, their spectra, and how terms of a logit moved."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ggufjac.analyses.compare.changes import Change, LogitChange
from ggufjac.analyses.compare.comparison import Comparison
from ggufjac.readable import readable
from ggufjac.reports.phrases import side
from ggufjac.reports.plots import shapes
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.style import CYCLE, figure
from ggufjac.reports.plots.text import label, shortened

#: Changes whose terms are drawn, sides with a spectrum of their own colour, and the longest name of one.
CHANGES, SPECTRA, LONGEST = 3, 6, 34


def pictures(c: Comparison) -> Iterator[Picture]:
    yield _overlaps(c)
    yield _spectra(c)
    for change in c.changes[:CHANGES]:
        shift = next((s for s in change.shifts if s.tokens), None)
        if shift is not None:
            yield _terms(c, change, shift)


def _name(c: Comparison, number: int) -> str:
    """What tells a side from the others."""
    s = c.sides[number]
    model = readable(c.models[s.model].file.removesuffix(".gguf")) if len(c.models) > 1 else ""
    prompt = readable(c.prompts[s.prompt]) if len(c.prompts) > 1 else ""
    return f"{side(number)}  {shortened(' · '.join(filter(None, (model, prompt))), LONGEST)}"


def _overlaps(c: Comparison) -> Picture:
    title = "What every pair of sides shares"
    n = len(c.sides)
    fig = figure(5.4 + 1.1 * n, 2.2 + 0.42 * n, title, f"leading {c.top} triplets of the maps of all tokens")
    left, right = fig.subplots(1, 2)
    rows = [_name(c, i) for i in range(n)]
    letters = [side(i) for i in range(n)]
    shapes.heat(fig, left, np.array(c.left), rows, letters, signed=False, form=".2f", label="", scale=1.0)
    left.set_title("span of the left vectors", pad=24)
    shapes.heat(fig, right, np.array(c.written), letters, letters, signed=False, form=".2f", label="", scale=1.0)
    right.set_title("words that they write", pad=24)
    return Picture("overlaps", title, fig)


def _spectra(c: Comparison) -> Picture:
    title = "Spectra of the sides"
    more = f"; the first {SPECTRA} of {len(c.sides)}" if len(c.sides) > SPECTRA else ""
    fig = figure(8.2, 4.2, title, f"leading singular values of the maps of all tokens{more}")
    axes = fig.add_subplot()
    for i, color in zip(range(len(c.sides)), CYCLE, strict=False):
        shapes.spectrum(axes, [t.sigma for t in c.sides[i].triplets], _name(c, i), color, 1.6)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return Picture("spectra", title, fig)


def _terms(c: Comparison, change: Change, shift: LogitChange) -> Picture:
    """What each position gives to one logit, on both sides."""
    both = (shift.before, shift.after)
    known = next(one for one in both if one is not None)
    pair = f"{side(change.one)} → {side(change.other)}"
    title = f"Terms of the logit of {label(known.token)}, {pair}"
    shown = shapes.most([max(abs(t.before), abs(t.after)) for t in shift.tokens if not math.isnan(t.before)])
    logits = " and ".join("none" if one is None else f"{one.logit:+.2f}" for one in both)
    which = shapes.of_all(len(shown), len(shift.tokens))
    fig = figure(7.2, 1.9 + 0.42 * len(shown), title, f"they add up, with constants, to {logits}{which}")
    axes = fig.add_subplot()
    labels = []
    for t in shown:
        one, other = shift.tokens[t].one, shift.tokens[t].other
        words = label(one) if one.text == other.text else f"{label(one, 10)} → {label(other, 10)}"
        labels.append(f"{words}  {t}")
    series = [
        (_name(c, change.one), [shift.tokens[t].before for t in shown]),
        (_name(c, change.other), [shift.tokens[t].after for t in shown]),
    ]
    shapes.grouped(axes, labels, series)
    axes.set_xlabel("logit")
    fig.legend(loc="outside lower center")
    return Picture(f"terms-{side(change.one)}-{side(change.other)}", title, fig)
