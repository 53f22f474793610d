"""`answer` on a page: the conversation, shaded by what its passages give to the answer or to a token of it, and back.

Without a script it is shaded by what every passage gives to the answer as a whole. The script (answer.js) shades it
anew for whatever is chosen; `data` is what it knows: terms in 16 bits, one scale for each account, as base64.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ggufjac.analyses.answer.answering import CLOSE, Answer, Said
from ggufjac.analyses.answer.spans import ANSWER, PROMPT, TEMPLATE, Passage
from ggufjac.analyses.common.account import Account
from ggufjac.analyses.common.questions import Question
from ggufjac.readable import readable
from ggufjac.reports import answer, words
from ggufjac.reports.cells import ColourScale
from ggufjac.reports.page.markup import Markup, tag
from ggufjac.reports.page.sections import CONVERSATION, Section
from ggufjac.reports.page.shades import STRONGEST, key, shade
from ggufjac.reports.page.spelling import drawn, spelled
from ggufjac.reports.page.tokens import phrase
from ggufjac.reports.phrases import BRIEFLY, question

STYLE, SCRIPT = "answer.css", "answer.js"
#: Letters of a passage that the page shows.
LABEL = 48
#: The largest number of 16 bits with a sign.
FULL = 32767
#: Digits behind the point of a value that the page shows with two.
DIGITS = 4


def lead(a: Answer) -> Section:
    whole, apart = a.whole, set(a.sinks)
    passages = [[t for t in passage.positions if t not in apart] for passage in (*_own(a, a.by), *_templates(a, a.by))]
    sums = [sum(whole[t] for t in positions) for positions in passages]
    given = {t: total for positions, total in zip(passages, sums, strict=True) for t in positions}
    scale = ColourScale(max(map(abs, sums), default=0.0))
    tokens = list(_tokens(a, given, scale))
    *asked, said = _rows(a)
    talk = tag(
        "div",
        tag("div", *(_drawn(a, row, tokens, scale) for row in asked), class_="asked"),
        _drawn(a, said, tokens, scale),
        key(scale, given.values()),
        class_="talk",
    )
    about = f"each {a.by} shaded by what it gives to the whole answer, {phrase(answer.explained(a))}: blue for, orange "
    return Section(CONVERSATION, f"{about}against", tag("div", talk, class_="explorer"))


def data(a: Answer) -> dict[str, Any]:
    """What the page's script knows of an answer."""
    tipped = [said.tipped for said in a.said if said.tipped is not None]
    return {
        "prompt": a.n_prompt,
        "tokens": [_label(piece.text) for piece in a.tokens],
        "sinks": a.sinks,
        "strongest": STRONGEST,
        "about": phrase(answer.explained(a)),
        "facts": answer.said_how(a),
        "units": [_unit(a, by) for by in _units(a)],
        "unit": _units(a).index(a.by) if a.by in _units(a) else _units(a).index("message"),
        "said": [_said(said) for said in a.said],
        "terms": packed([said.account for said in a.said]),
        "tipped": packed(tipped),
    }


def packed(accounts: Sequence[Account]) -> dict[str, Any]:
    """The terms of accounts, one account after the other, as multiples of a scale of each in 16 bits, little-endian."""
    scales = [max(map(abs, account.terms), default=0.0) / FULL or 1.0 for account in accounts]
    rows = [np.rint(np.array(a.terms) / scale).astype("<i2") for a, scale in zip(accounts, scales, strict=True)]
    together = b"".join(row.tobytes() for row in rows)
    return {"scales": scales, "packed": base64.b64encode(together).decode("ascii")}


@dataclass(frozen=True)
class _Row:
    """A message, or tokens of the template between two."""

    role: str
    start: int
    stop: int


def _rows(a: Answer) -> list[_Row]:
    """The whole text in its order, the answer last."""
    if not a.turns:
        return [_Row(PROMPT, 0, a.n_prompt), _Row(ANSWER, a.n_prompt, len(a.tokens))]
    found, at = [], 0
    for turn in a.turns:
        found += [_Row(TEMPLATE, at, turn.start), _Row(turn.role, max(at, turn.start), turn.stop)]
        at = max(at, turn.stop)
    found += [_Row(TEMPLATE, at, a.n_prompt), _Row(ANSWER, a.n_prompt, len(a.tokens))]
    return [row for row in found if row.start < row.stop]


def _tokens(a: Answer, given: dict[int, float], scale: ColourScale) -> Iterator[Markup]:
    for t, text in enumerate(spelled(a.tokens, a.words)):
        names, style = _shade(given.get(t, 0.0), scale)
        yield tag("span", drawn(text), class_=f"t {names}".strip(), style=style)


def _drawn(a: Answer, row: _Row, tokens: Sequence[Markup], scale: ColourScale) -> Markup:
    text = tag("div", *tokens[row.start : row.stop], class_="speech")
    if row.role != TEMPLATE:
        return tag(
            "div", tag("span", readable(row.role), class_="who"), text, class_=f"turn{' reply' * (row.role == ANSWER)}"
        )
    whole, n = a.whole, row.stop - row.start
    names, style = _shade(sum(whole[t] for t in range(row.start, row.stop) if t not in a.sinks), scale)
    summary = tag("span", f"template, {n} token{'s' * (n > 1)}", class_=names or None, style=style)
    return tag("details", tag("summary", summary), text, class_="turn fold")


def _shade(value: float, scale: ColourScale) -> tuple[str, str | None]:
    """As `shade`, without what nobody would see."""
    return shade(value, scale) if abs(value) >= 0.01 * scale.full else ("", None)


def _units(a: Answer) -> list[str]:
    """Into what the text can be cut; roles only where one has several messages."""
    several = len({turn.role for turn in a.turns}) < len(a.turns)
    return ["token", "word", "sentence", "message", *(["role"] if several else [])]


def _own(a: Answer, by: str) -> list[Passage]:
    """The passages that tell of the text itself."""
    return [passage for passage in a.passages(by) if passage.label != TEMPLATE]


def _templates(a: Answer, by: str) -> list[Passage]:
    """What the template wrote: one among messages, and by tokens where the text is cut finer, since it can be looked
    into here."""
    found = [passage for passage in a.passages(by) if passage.label == TEMPLATE]
    if by in ("message", "role"):
        return found
    return [Passage(a.tokens[t].text, (t,)) for passage in found for t in passage.positions]


def _unit(a: Answer, by: str) -> dict[str, Any]:
    """The names of the passages, the text's own first, and of every token the number of its passage."""
    own = _own(a, by)
    passages = [*own, *_templates(a, by)]
    number = {t: i for i, passage in enumerate(passages) for t in passage.positions}
    return {
        "name": by,
        "own": len(own),
        "labels": [_label(passage.label) for passage in passages],
        "of": [number[t] for t in range(len(a.tokens))],
    }


def _label(text: str) -> str:
    shown = readable(text)
    return shown if len(shown) <= LABEL else shown[: LABEL - 1] + "…"


def _said(said: Said) -> dict[str, Any]:
    return {
        "p": words.percent(said.token.probability),
        "rank": said.token.rank,
        "likeliest": [
            [_label(p.token.text), words.percent(p.probability), p.token.id == said.token.token.id]
            for p in said.likeliest
        ],
        "asked": _asked(said.account.question),
        "rival": _rival(said),
        "likely": _account(said.account),
        "over": None if said.tipped is None else _account(said.tipped),
    }


def _asked(asked: Question) -> list[str]:
    """What the first account of a token tells, in a word or two: a text, a token, a text."""
    if asked.against is not None:
        return ["over ", _label(asked.against.token.text), ""]
    return [{"chance": "how likely", "zero": "its logit"}.get(asked.above) or f"over {BRIEFLY[asked.above]}"]


def _rival(said: Said) -> list[str] | None:
    """What the second account tells, or why there is none; None where the first one tells of such a token already."""
    if said.tipped is None and said.account.question.against is not None:
        return None
    shown = f" {words.percent(said.runner_up.probability)}"
    if said.tipped is None:
        shown = ": not close" if said.runner_up.probability < CLOSE else ": not asked"
    return ["over ", _label(said.runner_up.token.text), shown]


def _account(account: Account) -> dict[str, Any]:
    return {
        "about": phrase(question(account.question)),
        "value": round(account.question.value, DIGITS),
        "constants": round(account.constants, DIGITS),
        "missed": round(account.missed, DIGITS),
    }
