"""Pictures of `ordinary`: both Jacobians' reconstructions, spectra, and terms."""

from __future__ import annotations

from collections.abc import Iterator

from ggufjac.analyses.ordinary import Ordinary
from ggufjac.reports.phrases import RECONSTRUCTIONS
from ggufjac.reports.plots import shapes
from ggufjac.reports.plots.analysis import names
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.style import BLUE, VERMILION, figure
from ggufjac.reports.plots.text import label

#: The two maps and their colours.
SIDES = (("detached", BLUE), ("ordinary", VERMILION))


def pictures(r: Ordinary) -> Iterator[Picture]:
    if r.arrays.keys() >= RECONSTRUCTIONS:
        yield _reconstruction(r)
    yield _spectra(r)
    yield _terms(r)


def _reconstruction(r: Ordinary) -> Picture:
    title = "What each Jacobian makes of the input, and the model's output"
    fig = figure(9.2, 8.2, title, f"{r.dtype}; the detached Jacobian above, the ordinary one below")
    grid = fig.subplots(2, 2)
    y = r.arrays["output"].double().cpu().numpy()
    for (points, errors), (name, color) in zip(grid, SIDES, strict=True):
        made = r.arrays[f"{name}.output"].double().cpu().numpy()
        shapes.reconstruction(points, errors, y, made, f"{name} Jacobian", color)
    return Picture("reconstruction", title, fig)


def _spectra(r: Ordinary) -> Picture:
    title = "Spectra of both Jacobians"
    overlaps = f"{100 * r.left_overlap:.0f}% of the left and {100 * r.right_overlap:.0f}% of the right"
    fig = figure(6.4, 4.2, title, f"all tokens together; {overlaps} subspace in common")
    axes = fig.add_subplot()
    for (name, color), side in zip(SIDES, (r.detached, r.ordinary), strict=True):
        shapes.spectrum(axes, [t.sigma for t in side.triplets], name, color, linewidth=1.8)
    axes.legend()
    return Picture("spectra", title, fig)


def _terms(r: Ordinary) -> Picture:
    title = f"Terms of the logit of {label(r.target.token)} by both Jacobians"
    shown = shapes.most([max(abs(a), abs(b)) for a, b in zip(r.detached.terms, r.ordinary.terms, strict=True)])
    sums = f"detached {r.detached.logit:+.2f}, ordinary {r.ordinary.logit:+.2f}, the model {r.target.logit:+.2f}"
    fig = figure(6.8, 1.6 + 0.42 * len(shown), title, f"added up: {sums}{shapes.of_all(len(shown), len(r.tokens))}")
    axes = fig.add_subplot()
    series = [(name, [side.terms[t] for t in shown]) for name, side in (("detached", r.detached),
                                                                        ("ordinary", r.ordinary))]  # fmt: skip
    shapes.grouped(axes, names(r.tokens, shown), series)
    axes.set_xlabel("logit")
    axes.legend()
    return Picture("terms", title, fig)
