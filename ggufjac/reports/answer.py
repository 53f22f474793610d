"""An answer in words, for every view: what gave most to a token of it, and to all of them.

Passages are what the text was cut into (`Answer.passages`). Of a chat, what the template wrote is told as one: every
prompt of the kind has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log

from ggufjac.analyses.answer.answering import Answer
from ggufjac.analyses.answer.spans import TEMPLATE, Passage
from ggufjac.analyses.common.account import Account
from ggufjac.readable import visible
from ggufjac.reports.phrases import BRIEFLY, Phrase
from ggufjac.rules import rules_called

#: What is given by sinks, whatever the prompt says.
SHARED = "shared by all"
#: Passages that a row names.
STRONGEST = 3
#: What each token of an answer is taken above, in words.
HOW_MUCH = {
    "chance": "ln p of each token over chance",
    "zero": "the logit of each token",
    "rival": "each token over the likeliest other one",
}


@dataclass(frozen=True)
class Giver:
    """A passage of the text and what it gives."""

    passage: Passage
    term: float


def givers(answer: Answer, account: Account, by: str | None = None) -> list[Giver]:
    """What every passage gives to one token, in the order of the text, the template last; by: as in
    `Answer.passages`. Sinks count for nothing here, since all prompts share what they give."""
    return _given(answer, account.terms, by)


def with_shared(answer: Answer, account: Account) -> list[Giver]:
    """What every passage gives to one token, and what sinks give as one more."""
    shared = [t for t in answer.sinks if t < len(account.terms)]
    found = givers(answer, account)
    return [*found, Giver(Passage(SHARED, tuple(shared)), sum(account.terms[t] for t in shared))] if shared else found


def whole(answer: Answer, by: str | None = None) -> list[Giver]:
    """What every passage gives to the answer as a whole."""
    return _given(answer, answer.whole, by)


def _given(answer: Answer, terms: Sequence[float], by: str | None) -> list[Giver]:
    apart = set(answer.sinks)
    found = []
    for passage in answer.passages(by):
        given = [terms[t] for t in passage.positions if t < len(terms) and t not in apart]
        if given:
            found.append(Giver(passage, sum(given)))
    return found


def strongest(found: Iterable[Giver], n: int = STRONGEST) -> list[Giver]:
    """The n largest, the largest first; not the template, which tells of no word."""
    return sorted((giver for giver in found if giver.passage.label != TEMPLATE), key=lambda giver: -abs(giver.term))[:n]


@dataclass(frozen=True)
class Beside:
    """What tells of no part of the text: shared by all prompts, constants, not credited; and the value of all."""

    shared: float
    constants: float
    missed: float
    value: float


def beside(answer: Answer) -> Beside:
    """Of the answer as a whole."""
    accounts = [said.account for said in answer.said]
    exact = rules_called(answer.rules).reconstructs
    return Beside(
        shared=sum(account.terms[t] for account in accounts for t in answer.sinks if t < len(account.terms)),
        constants=sum(account.constants for account in accounts),
        missed=0.0 if exact else sum(account.missed for account in accounts),
        value=sum(account.question.value for account in accounts),
    )


def explained(answer: Answer) -> Phrase:
    """The quantity that is told of every token."""
    against = answer.said[0].account.question.against
    if against is not None and answer.above == "token":
        return ("each token over ", against.token)
    return (HOW_MUCH.get(answer.above) or f"each token over {BRIEFLY[answer.above]}",)


def said_how(answer: Answer) -> str:
    """How the answer came about, and how likely it was."""
    how = {"greedy": "the likeliest each time", "sampled": "drawn at random", "given": "as given"}[answer.how]
    end = "" if answer.ended or answer.how == "given" else ", cut off there"
    tokens = "1 token" if len(answer.said) == 1 else f"{len(answer.said)} tokens"
    return f"{tokens}, {how}{end}; p of the whole {_probability(answer.log_probability)}"


def _probability(ln_p: float) -> str:
    """exp(ln p), which may be smaller than any float."""
    tens = ln_p / log(10)
    return f"{10**tens:.1%}" if tens > -3 else f"10^{tens:.0f}"


def opinion(answer: Answer) -> str | None:
    """What llama.cpp would have said at the same places; None where it was not asked."""
    judged = answer.judged
    if judged is None:
        return None
    if judged.reason:
        return f"not asked: {visible(judged.reason)}"
    parted = {place.position for place in judged.differing}
    near = sum(position not in parted for position in judged.close)
    close = f"; {near} so close that rounding may turn them" if near else ""
    if not judged.differing:
        return f"MATCH at all {judged.places} places{close}"
    ties = [place for place in judged.differing if place.verdict == "NEAR-TIE"]
    wrong = len(judged.differing) - len(ties)
    told = f"MATCH at {judged.places - len(judged.differing)} of {judged.places} places"
    if ties:
        first = ties[0]
        told += f", NEAR-TIE at {len(ties)}: it says {first.theirs.shown}, exact arithmetic {first.ours.shown}"
        told += f" ({first.margin:.2f} logits)"
    return told + (f", MISMATCH at {wrong}" if wrong else "") + close
