"""`layers` on a page: layers by triplets with all their tokens on cards, layers by tokens shaded."""

from __future__ import annotations

from collections.abc import Sequence

from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.layers import LayerReading, Layers, LayerTriplet
from ggufjac.maps.within.sites import LAYER
from ggufjac.reports import phrases, words
from ggufjac.reports.page.markup import Markup, join, tag
from ggufjac.reports.page.sections import section
from ggufjac.reports.page.tokens import Cell, Plain, Shaded, grid, matrix, numbered, shaded_text, word, words_of

#: Tokens of a vector that a cell shows; its card shows all.
SHOWN = 3


def lead(a: Layers) -> Markup:
    last = a.of_part(a.parts[0])[-1]
    tokens = [
        Shaded(token, last.shares[t], ((f"token {t}", word(token)), ("share", words.percent(last.shares[t]))))
        for t, token in enumerate(a.tokens)
    ]
    what = f"the output of layer {last.layer}" if last.part == LAYER else f"what {last.part} of layer {last.layer} adds"
    return section("Prompt", f"each token shaded by the share of {what} that it carries", shaded_text(tokens))


def bodies(a: Layers) -> dict[str, Markup]:
    out = {}
    for part in a.parts:
        readings = a.of_part(part)
        out[phrases.section("Concepts", part)] = _grid(a, readings, layerwise=False)
        if a.readings[0].layerwise is not None:
            out[phrases.alone(part)] = _grid(a, readings, layerwise=True)
        out[phrases.section("Input tokens", part)] = _shares(a, readings)
    return out


def _grid(a: Layers, readings: Sequence[LayerReading], *, layerwise: bool) -> Markup:
    heads = [("layer", True), ("stable rank", True)]
    heads += [] if layerwise else [("lens", False), (f"rank of {a.target.token.shown}", True)]
    rows = []
    k = 0
    for reading in readings:
        spectrum = reading.layerwise if layerwise else reading.cumulative
        assert spectrum is not None
        exact = layerwise and a.layerwise_exact
        plain: list[Plain] = [
            (str(reading.layer), reading.layer),
            (f"{'' if exact else '≈'}{spectrum.stable_rank:.3g}", spectrum.stable_rank),
        ]
        if not layerwise:
            plain += [(words_of(reading.lens, SHOWN, a.target.token.id), None), (str(reading.rank), reading.rank)]
        rows.append((plain, [_cell(a, concept, layerwise) for concept in spectrum.concepts]))
        k = max(k, len(spectrum.concepts))
    return grid(heads, rows, [f"σ, {numbered('u', i)}" for i in range(1, k + 1)])


def _cell(a: Layers, c: LayerTriplet, layerwise: bool) -> Cell:
    if c.sigma == 0:
        return Cell(Markup("·"), (("σ", "0"),), 0.0, 0.0)
    shown = (tag("span", words.sigma(c.sigma), class_="sigma"), words_of(c.writes, SHOWN, a.target.token.id))
    source = join((word(a.tokens[c.position]), words.percent(c.weight)), " ")
    card = (
        ("σ", f"{c.sigma:.5g}"),
        ("writes (u)", words_of(c.writes, target=a.target.token.id)),
        ("position" if layerwise else "mostly from", source),
        ("|cos| with the last layer's", f"{c.cosine:.4f}"),
        ("residual", words.small(c.residual)),
    )
    return Cell(join(shown, " "), card, c.cosine, c.sigma)


def _shares(a: Layers, readings: Sequence[LayerReading]) -> Markup:
    constants = any(reading.constant_share for reading in readings)
    columns: list[Piece | str] = [*a.tokens, *(["const."] if constants else [])]
    rows = [
        (str(r.layer), [100 * share for share in (*r.shares, *([r.constant_share] if constants else []))])
        for r in readings
    ]
    return matrix("layer, %", columns, rows, ".1f")
