"""`layers` on a page: the prompt shaded, and every concept's tokens on its card."""

from __future__ import annotations

from ggufjac.analyses.layers import Layers
from ggufjac.maps.within.sites import LAYER
from ggufjac.reports import words
from ggufjac.reports.page.markup import join
from ggufjac.reports.page.sections import PROMPT, Section
from ggufjac.reports.page.tokens import Card, Shaded, shaded_text, word, words_of
from ggufjac.reports.terminal.layers import InGrid


def lead(a: Layers) -> Section:
    last = a.of_part(a.parts[0])[-1]
    tokens = [
        Shaded(token, last.shares[t], ((f"token {t}", word(token)), ("share", words.percent(last.shares[t]))))
        for t, token in enumerate(a.tokens)
    ]
    what = f"the output of layer {last.layer}" if last.part == LAYER else f"what {last.part} of layer {last.layer} adds"
    return Section(PROMPT, f"each token shaded by the share of {what} that it carries", shaded_text(tokens, ".1%"))


def card(a: Layers, about: object) -> Card | None:
    """All tokens of a concept, and where it comes from."""
    if not isinstance(about, InGrid):
        return None
    c = about.triplet
    if c.sigma == 0:
        return (("σ", "0"),)
    source = join((word(a.tokens[c.position]), words.percent(c.weight)), " ")
    return (
        ("σ", f"{c.sigma:.5g}"),
        ("writes (u)", words_of(c.writes, a.target.token.id)),
        ("position" if about.layerwise else "mostly from", source),
        ("|cos| with the last layer's", f"{c.cosine:.4f}"),
        ("residual", words.small(c.residual) if c.sigma else "—"),
    )
