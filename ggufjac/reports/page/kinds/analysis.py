"""`analyze` on a page: the prompt shaded by what its tokens give, and their singular vectors as a grid."""

from __future__ import annotations

import math

from ggufjac.analyses.analyze import Analysis, TokenRow
from ggufjac.analyses.common.predictions import Triplet
from ggufjac.reports import words
from ggufjac.reports.page.convert import bar
from ggufjac.reports.page.markup import Markup, join, tag
from ggufjac.reports.page.sections import section
from ggufjac.reports.page.tokens import Cell, Shaded, grid, numbered, shaded_text, word, words_of

#: Tokens of a vector that a cell shows; its card shows all.
SHOWN = 3


def lead(a: Analysis) -> Markup:
    tokens = [Shaded(row.token, row.logit, _card(a, t, row)) for t, row in enumerate(a.tokens)]
    about = f"each token shaded by its exact term of the logit of {a.target.token.shown}: blue for, orange against"
    return section("Prompt", about, shaded_text(tokens))


def bodies(a: Analysis) -> dict[str, Markup]:
    if not any(row.triplets for row in a.tokens):
        return {}
    k = max(len(row.triplets) for row in a.tokens)
    heads = [("#", True), ("token", False), ("output", True), (f"logit of {a.target.token.shown}", True), ("", False)]
    heads.append(("stable rank", True))
    largest = max(abs(row.logit) for row in (a.tokens[1:] or a.tokens))
    rows = []
    for t, row in enumerate(a.tokens):
        rank = f"{'' if a.norms_exact else '≈'}{row.stable_rank:.3g}"
        plain: list[tuple[object, float | None]] = [
            (str(t), t),
            (word(row.token), None),
            (words.percent(row.output_share), row.output_share),
            (f"{row.logit:+.2f}", row.logit),
            (bar(row.logit / largest if largest else 0.0, negative=row.logit < 0), None),
            (rank, row.stable_rank),
        ]
        top = row.triplets[0].sigma if row.triplets else 0.0
        rows.append((plain, [_cell(i, triplet, top) for i, triplet in enumerate(row.triplets, 1)]))
    share = sum(row.output_share for row in a.tokens) + a.constant_share
    logit = sum(row.logit for row in a.tokens) + a.constant_logit
    foot = []
    if a.constant_share or a.constant_logit:
        foot.append(_foot("constant c", a.constant_share, a.constant_logit, k))
    foot.append(_foot("sum", share, logit, k))
    return {"Input tokens": grid(heads, rows, [f"σ, writes ({numbered('u', i)})" for i in range(1, k + 1)], foot)}


def _foot(name: str, share: float, logit: float, k: int) -> Markup:
    cells = [tag("td"), tag("td", name, class_="dim")]
    cells += [tag("td", text, class_="num") for text in (words.percent(share), f"{logit:+.2f}")]
    return tag("tr", *cells, tag("td", colspan=str(k + 2)))


def _card(a: Analysis, t: int, row: TokenRow) -> tuple[tuple[str, object], ...]:
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


def _cell(i: int, triplet: Triplet, top: float) -> Cell:
    shown = join((tag("span", words.sigma(triplet.sigma), class_="sigma"), words_of(triplet.writes, SHOWN)), " ")
    card = (
        (numbered("σ", i), f"{triplet.sigma:.5g}"),
        ("term of the logit", f"{triplet.logit:+.4f}"),
        ("residual", words.small(triplet.residual)),
        (f"writes ({numbered('u', i)})", words_of(triplet.writes)),
        (f"reads ({numbered('v', i)})", words_of(triplet.reads)),
    )
    return Cell(shown, card, triplet.sigma / top if top else 0.0, triplet.sigma)
