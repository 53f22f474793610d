"""`ablate` on a page: the prompt shaded by what the model loses without each token."""

from __future__ import annotations

import math

from ggufjac.analyses.ablate import Ablation, AblationOutcome, TokenAblation
from ggufjac.reports.page.markup import Markup, join
from ggufjac.reports.page.sections import PROMPT, Section
from ggufjac.reports.page.tokens import Card, Shaded, shaded_text, word


def lead(a: Ablation) -> Section:
    tokens = [Shaded(row.token, -row.zeroed.change, _card(a, row)) for row in a.tokens]
    about = f"each token shaded by how much ln p of {a.target.token.shown} falls (blue) or rises (orange) in the model "
    title = PROMPT if len(a.tokens) == a.n_tokens else "Tokens taken away"
    return Section(title, about + "with its vector set to 0", shaded_text(tokens))


def _card(a: Ablation, row: TokenAblation) -> Card:
    return (
        (f"token {row.position}", word(row.token)),
        (a.account.rules, f"{-a.account.terms[row.position]:+.3f}"),
        ("linear", _outcome(row.linear)),
        ("slope", f"{row.derivative:+.3f}"),
        ("zeroed", _outcome(row.zeroed)),
        ("left out", "·" if row.left_out is None else _outcome(row.left_out)),
    )


def _outcome(o: AblationOutcome) -> Markup:
    if not math.isfinite(o.change):
        return Markup("·")
    return join((f"{o.change:+.3f}, says", word(o.first)), " ")
