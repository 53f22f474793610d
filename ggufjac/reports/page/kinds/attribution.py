"""`attribute` on a page: the prompt shaded by its exact terms, with the write that carries most of each token."""

from __future__ import annotations

from ggufjac.analyses.attribute import Attribution
from ggufjac.reports.page.sections import PROMPT, Section
from ggufjac.reports.page.tokens import Shaded, phrase, shaded_text, word
from ggufjac.reports.phrases import question


def lead(a: Attribution) -> Section:
    tokens = []
    for t, row in enumerate(a.tokens):
        terms = [(phrase(question(a.questions[i])), f"{term:+.4f}") for i, term in enumerate(row.terms)]
        best = max(a.writes, key=lambda write: abs(write.tokens[t]))
        through = best.part if best.layer is None else f"{best.part} {best.layer}"
        card = [(f"token {t}", word(row.token)), ("id", str(row.token.id)), *terms]
        card.append(("largest last write", f"{through} {best.tokens[t]:+.4f}"))
        tokens.append(Shaded(row.token, row.terms[0], tuple(card)))
    about = f"each token shaded by its exact term of {phrase(question(a.questions[0]))}: blue for, orange against"
    return Section(PROMPT, about, shaded_text(tokens))
