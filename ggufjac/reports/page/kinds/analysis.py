"""`analyze` on a page: the prompt shaded by what its tokens give, and every vector's tokens on its card."""

from __future__ import annotations

import math

from ggufjac.analyses.analyze import Analysis, TokenRow
from ggufjac.reports import words
from ggufjac.reports.page.sections import PROMPT, Section
from ggufjac.reports.page.tokens import Card, Shaded, shaded_text, word, words_of
from ggufjac.reports.terminal.analysis import OwnTriplet


def lead(a: Analysis) -> Section:
    tokens = [Shaded(row.token, row.logit, _card(a, t, row)) for t, row in enumerate(a.tokens)]
    about = f"each token shaded by its exact term of the logit of {a.target.token.shown}: blue for, orange against"
    return Section(PROMPT, about, shaded_text(tokens))


def card(_: Analysis, about: object) -> Card | None:
    """All tokens of a vector of one token's map."""
    if not isinstance(about, OwnTriplet):
        return None
    i, triplet = about.number, about.triplet
    return (
        (words.numbered("σ", i), f"{triplet.sigma:.5g}"),
        ("term of the logit", f"{triplet.logit:+.4f}"),
        ("residual", words.small(triplet.residual)),
        (f"writes ({words.numbered('u', i)})", words_of(triplet.writes)),
        (f"reads ({words.numbered('v', i)})", words_of(triplet.reads)),
    )


def _card(a: Analysis, t: int, row: TokenRow) -> Card:
    card: list[tuple[str, object]] = [
        (f"token {t}", word(row.token)),
        ("id", str(row.token.id)),
        ("term of the logit", f"{row.logit:+.4f}"),
        ("of the logit's sum", words.percent(row.logit / a.target.logit) if a.target.logit else "·"),
        ("share of the output", words.percent(row.output_share)),
    ]
    if not math.isnan(row.stable_rank):
        card.append(("stable rank", f"{row.stable_rank:.4g}"))
    return tuple(card)
