"""An answer in words, for every view: what gave most to a token of it, and to all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ggufjac.analyses.answer.answering import Answer, Said
from ggufjac.analyses.common.account import Account
from ggufjac.analyses.common.spans import Part
from ggufjac.reports.phrases import BRIEFLY, Phrase
from ggufjac.rules import rules_called

#: Sources that a row names.
STRONGEST = 3
#: What each token of an answer is taken above, in the plural.
HOW_MUCH = {
    "chance": "ln p of each token over chance",
    "zero": "the logit of each token",
    "rival": "each token over the likeliest other one",
}


@dataclass(frozen=True)
class Source:
    """A part of the text and what it gives."""

    part: Part
    term: float


def sources(answer: Answer, account: Account, parts: Sequence[Part]) -> list[Source]:
    """What every part gives to one token, in the order of the text; sinks count for nothing here, since all prompts
    share what they give."""
    apart, n = set(answer.sinks), len(account.terms)
    found = []
    for part in parts:
        given = [account.terms[t] for t in part.positions if t < n and t not in apart]
        if given:
            found.append(Source(part, sum(given)))
    return found


def strongest(found: Sequence[Source], n: int = STRONGEST) -> list[Source]:
    """The n largest, the largest first."""
    return sorted(found, key=lambda source: -abs(source.term))[:n]


def whole(answer: Answer, parts: Sequence[Part]) -> list[Source]:
    """What every part gives to the answer as a whole, in the order of the text."""
    terms, apart = answer.whole, set(answer.sinks)
    found = []
    for part in parts:
        positions = [t for t in part.positions if t not in apart]
        if positions:
            found.append(Source(part, sum(terms[t] for t in positions)))
    return found


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


def sampling(answer: Answer) -> str:
    """How the answer came about, and how likely it was."""
    how = {"greedy": "the likeliest token each time", "sampled": "drawn at random", "given": "given"}[answer.how]
    end = "" if answer.ended else "; cut off here"
    return f"{how}{end}; p of the whole {probability(answer)}"


def probability(answer: Answer) -> str:
    """exp of the sum of ln p, which may be smaller than any float."""
    tens = answer.log_probability / 2.302585092994046
    return f"{10**tens:.1%}" if tens > -3 else f"10^{tens:.0f}"


def opinion(answer: Answer) -> str | None:
    """What llama.cpp would have said at the same places; None where it was not asked."""
    judged = answer.judged
    if judged is None:
        return None
    if judged.reason:
        return f"not asked: {judged.reason}"
    if judged.same == judged.places and not judged.differing:
        return f"says the same at all {judged.places} places"
    said = f"says the same at {judged.same} of {judged.places} places"
    ties = sum(place.verdict == "NEAR-TIE" for place in judged.differing)
    rest = len(judged.differing) - ties
    return said + (f"; {ties} near-ties" if ties else "") + (f"; {rest} MISMATCHES" if rest else "")


def decisive(said: Said) -> Account:
    """The account of what tipped it, of a place that has one."""
    assert said.tipped is not None
    return said.tipped
