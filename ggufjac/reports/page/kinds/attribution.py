"""`attribute` on a page: the prompt shaded by what its words give, with the write that carries most of each token."""

from __future__ import annotations

from ggufjac.analyses.attribute import Attribution
from ggufjac.analyses.common.words import Word
from ggufjac.chat.prompt import role_at
from ggufjac.readable import readable
from ggufjac.reports import account
from ggufjac.reports.page.sections import PROMPT, Section
from ggufjac.reports.page.tokens import Card, phrase, shaded_words, word
from ggufjac.reports.phrases import question


def lead(a: Attribution) -> Section:
    rows = account.rows(a.accounts, a.words)
    about = f"each word shaded: {phrase(account.about(a.accounts[0]))}: blue for, orange against"
    return Section(PROMPT, about, shaded_words(rows, a.words, lambda w: _card(a, w)))


def _card(a: Attribution, of: Word) -> Card:
    card: list[tuple[str, object]] = []
    for t in range(of.start, of.stop):
        row = a.tokens[t]
        whose = role_at(a.turns, t)
        card += [(f"token {t}", word(row.token)), ("id", str(row.token.id))]
        card += [(phrase(question(a.questions[i])), f"{term:+.4f}") for i, term in enumerate(row.terms)]
        if whose is not None:
            card.append(("turn", readable(whose)))
        if a.writes:
            best = max(a.writes, key=lambda write: abs(write.tokens[t]))
            through = best.part if best.layer is None else f"{best.part} {best.layer}"
            card.append(("largest last write", f"{through} {best.tokens[t]:+.4f}"))
    return tuple(card)
