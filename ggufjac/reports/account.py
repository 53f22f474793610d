"""An account in words, for every view: its words' terms, and what tells of no word.

The words are the prompt's. What tells of none stands below them, so that all adds up to the value: the term of a sink,
which all prompts share, what biases give, and what the rules of linearisation credit to nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ggufjac.analyses.common.account import Account
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.common.words import Word
from ggufjac.analyses.options import CONTRAST, LIKELIHOOD, faithful_rules
from ggufjac.reports import phrases, words
from ggufjac.reports.phrases import Phrase
from ggufjac.rules import rules_called

#: What biases and the like are called where it is not told which.
CONSTANTS = "constants"
SHARED = (
    "shared by all: the term of a sink, a token whose state outgrows all others and on which attention rests whatever "
    "it says"
)
NOT_CREDITED = (
    "not credited: what these rules leave out; compare words with each other, not with the sum (exact terms are those "
    "of attribute --rules detached)"
)

#: The run of which not all rules can be had, and what is said of it.
LLAMA_CPP = "llama.cpp"
NEAREST = (
    f"rules {faithful_rules('chance', LLAMA_CPP)!r} are the nearest to {LIKELIHOOD!r} that llama.cpp's own run can "
    "have, since a computation that rounds has no derivatives"
)


@dataclass(frozen=True)
class WordRow:
    """A word with what it gives to every question; sinks among its tokens count for themselves."""

    word: Word
    terms: tuple[float, ...]
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Below:
    """A row that tells of no word: its name, its values for every question, and a note on what it is."""

    name: str
    values: list[float]
    meaning: str = ""


def rows(accounts: Sequence[Account], of: Sequence[Word]) -> list[WordRow]:
    """The words in their order, without those that are nothing but sinks."""
    apart = set(accounts[0].sinks)
    found = []
    for word in of:
        tokens = tuple(t for t in range(word.start, word.stop) if t not in apart)
        if tokens:
            found.append(WordRow(word, tuple(sum(a.terms[t] for t in tokens) for a in accounts), tokens))
    return found


def below(accounts: Sequence[Account], pieces: Sequence[Piece], constants: str = CONSTANTS) -> list[Below]:
    """What tells of no word, as far as it is worth a line."""
    sinks = accounts[0].sinks
    named = ", ".join(words.token(pieces[t]).plain for t in sinks)
    found = (
        Below(f"shared by all ({named})", [sum(a.terms[t] for t in sinks) for a in accounts], SHARED),
        Below(constants, [a.constants for a in accounts]),
        Below("not credited", [0 if rules_called(a.rules).reconstructs else a.missed for a in accounts], NOT_CREDITED),
    )
    return [row for row in found if (row.meaning == SHARED and sinks) or any(map(words.worth, row.values))]


def title(rules: str) -> str:
    """The heading: only the most faithful rules claim to answer the question."""
    return "Which words mattered" if rules in (CONTRAST, LIKELIHOOD) else "What each word gives"


def about(account: Account, *others: Account) -> Phrase:
    """What the table shows; others: accounts by other rules."""
    how = "exact terms" if rules_called(account.rules).reconstructs else "terms"
    more: Phrase = ()
    for other in others:
        if other.rules != account.rules:
            more = (*more, f"; by {other.rules!r} of ", *phrases.briefly(other.question))
    return f"{how} by rules {account.rules!r} of ", *phrases.briefly(account.question), *more


def notes(accounts: Sequence[Account], pieces: Sequence[Piece], followed: bool) -> list[str]:
    """What the rows below the words are; followed: whether llama.cpp's own run is explained, which has fewer rules."""
    shown = {row.meaning for row in below(accounts, pieces)}
    likely = any(account.question.above == "chance" for account in accounts)
    nearest = [NEAREST] if followed and likely else []
    return [line for line in (SHARED, NOT_CREDITED) if line in shown] + nearest
