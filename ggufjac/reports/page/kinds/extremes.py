"""`extremes` on a page: the prompt shaded by the size of each token's map."""

from __future__ import annotations

from ggufjac.analyses.extremes import Extremes
from ggufjac.reports import words
from ggufjac.reports.page.sections import PROMPT, Section
from ggufjac.reports.page.tokens import Shaded, shaded_text, word, words_of

#: Entries that a card names.
NAMED = 4


def lead(e: Extremes) -> Section:
    tokens = []
    for t, row in enumerate(e.tokens):
        card: list[tuple[str, object]] = [
            (f"token {t}", word(row.token)),
            ("‖J_t‖", ("" if e.exact else "≈") + words.sigma(row.norm)),
            ("columns", ", ".join(f"{c.entry} ({words.percent(c.share)})" for c in row.columns[:NAMED])),
            ("rows", ", ".join(f"{r.entry} ({words.percent(r.share)})" for r in row.rows[:NAMED])),
        ]
        if row.columns:
            card.append(("first column writes", words_of(row.columns[0].tokens)))
        tokens.append(Shaded(row.token, row.norm, tuple(card)))
    return Section(PROMPT, "each token shaded by the size of its map, ‖J_t‖", shaded_text(tokens, ".3g"))
