"""`analyze` on a page: the prompt shaded by what its words give, and every vector's tokens on its card."""

from __future__ import annotations

import math

from ggufjac.analyses.analyze import Analysis
from ggufjac.analyses.common.words import Word
from ggufjac.chat.prompt import role_at
from ggufjac.readable import readable
from ggufjac.reports import account, words
from ggufjac.reports.page.sections import PROMPT, Section
from ggufjac.reports.page.tokens import Card, phrase, shaded_words, word, words_of
from ggufjac.reports.terminal.analysis import OwnTriplet


def lead(a: Analysis) -> Section:
    rows = account.rows(a.accounts, a.words)
    about = f"each word shaded: {phrase(account.about(a.accounts[0]))}: blue for, orange against"
    return Section(PROMPT, about, shaded_words(rows, a.words, lambda w: _card(a, w)))


def card(_: Analysis, about: object) -> Card | None:
    """All tokens of a vector of one token's map."""
    if not isinstance(about, OwnTriplet):
        return None
    i, triplet = about.number, about.triplet
    return (
        (words.numbered("σ", i), f"{triplet.sigma:.5g}"),
        ("term of the logit", f"{triplet.logit:+.4f}"),
        ("residual", words.small(triplet.residual) if triplet.sigma else "—"),
        (f"writes ({words.numbered('u', i)})", words_of(triplet.writes)),
        (f"reads ({words.numbered('v', i)})", words_of(triplet.reads)),
    )


def _card(a: Analysis, of: Word) -> Card:
    """Every token of a word, its term, and what the map of its own says of it."""
    card: list[tuple[str, object]] = []
    for t in range(of.start, of.stop):
        row = a.tokens[t]
        whose = role_at(a.turns, t)
        card += [
            (f"token {t}", word(row.token)),
            ("id", str(row.token.id)),
            ("shared by all" if t in a.accounts[0].sinks else "term", f"{a.accounts[0].terms[t]:+.4f}"),
            ("term of the logit", f"{row.logit:+.4f}"),
            ("share of the output", words.percent(row.output_share)),
        ]
        if whose is not None:
            card.append(("turn", readable(whose)))
        if not math.isnan(row.stable_rank):
            card.append(("stable rank", f"{row.stable_rank:.4g}"))
    return tuple(card)
