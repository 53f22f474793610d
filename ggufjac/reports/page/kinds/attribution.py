"""`attribute` on a page: the prompt shaded by its exact terms, and layers by tokens."""

from __future__ import annotations

from ggufjac.analyses.attribute import Attribution
from ggufjac.analyses.common.tokens import Piece
from ggufjac.reports.page.markup import Markup
from ggufjac.reports.page.sections import section
from ggufjac.reports.page.tokens import Shaded, matrix, phrase, shaded_text, word
from ggufjac.reports.phrases import question


def lead(a: Attribution) -> Markup:
    tokens = []
    for t, row in enumerate(a.tokens):
        terms = [(phrase(question(a.questions[i])), f"{term:+.4f}") for i, term in enumerate(row.terms)]
        best = max(a.writes, key=lambda write: abs(write.tokens[t]))
        through = best.part if best.layer is None else f"{best.part} {best.layer}"
        card = [(f"token {t}", word(row.token)), ("id", str(row.token.id)), *terms]
        card.append(("largest last write", f"{through} {best.tokens[t]:+.4f}"))
        tokens.append(Shaded(row.token, row.terms[0], tuple(card)))
    about = f"each token shaded by its exact term of {phrase(question(a.questions[0]))}: blue for, orange against"
    return section("Prompt", about, shaded_text(tokens))


def bodies(a: Attribution) -> dict[str, Markup]:
    constants = any(write.constant for write in a.writes)
    columns: list[Piece | str] = [*(row.token for row in a.tokens), *(["const."] if constants else [])]
    layers = [None, *sorted({write.layer for write in a.writes if write.layer is not None})]
    rows = []
    for layer in layers:
        writes = [write for write in a.writes if write.layer == layer]
        values = [sum(write.tokens[t] for write in writes) for t in range(len(a.tokens))]
        values += [sum(write.constant for write in writes)] if constants else []
        rows.append(("direct" if layer is None else str(layer), values))
    total = [sum(values[j] for _, values in rows) for j in range(len(columns))]
    return {"Layers": matrix("layer", columns, rows, "+.2f", total, sums=True)}
