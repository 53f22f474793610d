"""The table that a report shows first: which words mattered.

Its rows are the prompt's words. What tells of no word stands below them, so that every column adds up to its value:
the term of a sink, which all prompts share, what biases give, and what the rules of linearisation credit to nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from ggufjac.analyses.common.account import Account
from ggufjac.analyses.common.questions import Question
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.common.words import Word
from ggufjac.analyses.options import FAITHFUL
from ggufjac.reports import phrases, words
from ggufjac.reports.phrases import Phrase
from ggufjac.reports.terminal import layout
from ggufjac.reports.terminal.layout import EVERYTHING, ROOMY
from ggufjac.rules import rules_called

#: Words that a table lists at most, and how many of them where there are more; a page lists all of them.
LISTED, LARGEST = 24, 16
#: The longest word that is shown whole where there is room.
LONGEST = 32
#: Cells of a bar, and of one in a narrow terminal.
BAR, NARROW = 24, 12

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


@dataclass(frozen=True)
class WordRow:
    """A word with what it gives to every question; sinks among its tokens count for themselves."""

    word: Word
    terms: tuple[float, ...]
    tokens: tuple[int, ...]


def rows(accounts: Sequence[Account], of: Sequence[Word]) -> list[WordRow]:
    """The words in their order, without those that are nothing but sinks."""
    apart = set(accounts[0].sinks)
    found = []
    for word in of:
        tokens = tuple(t for t in range(word.start, word.stop) if t not in apart)
        if tokens:
            found.append(WordRow(word, tuple(sum(a.terms[t] for t in tokens) for a in accounts), tokens))
    return found


def title(rules: str) -> str:
    """The heading: only the most faithful rules claim to answer the question."""
    return "Which words mattered" if rules == FAITHFUL else "What each word gives"


def about(account: Account) -> Phrase:
    """What the table shows."""
    how = "exact terms" if rules_called(account.rules).reconstructs else "terms"
    return f"{how} of ", *phrases.question(account.question), f" by rules {account.rules!r}"


def explains(account: Account) -> Text:
    """The quantity and its value, for the head of a report."""
    q = account.question
    out = Text.assemble(words.phrase(phrases.question(q)), (f" {q.value:+.4f}", "bold"))
    if q.against is None:
        out.append(f"  rank {q.target.rank}, {words.percent(q.target.probability)}", style=words.DIM)
        out.append(f", logit {q.target.logit:.2f}" if q.above != "zero" else "", style=words.DIM)
    else:
        sides = f"  {words.percent(q.target.probability)} and {words.percent(q.against.probability)}"
        out.append(f"{sides}: their ratio is e to the difference", style=words.DIM)
    if rules_called(account.rules).reconstructs:
        missing = words.small(abs(account.missed) / max(1.0, abs(q.target.logit)))
        return out.append(f"; the terms add up to it within {missing}", style=words.DIM)
    return out.append(f"; {account.missed:+.2f} of it is credited to no token", style=words.DIM)


def notes(accounts: Sequence[Account], pieces: Sequence[Piece]) -> list[str]:
    """What the rows below the words are."""
    shown = {row.meaning for row in below(accounts, pieces)}
    return [line for line in (SHARED, NOT_CREDITED) if line in shown]


def table(
    accounts: Sequence[Account], of: Sequence[Word], pieces: Sequence[Piece], width: int, constants: str = CONSTANTS
) -> Table:
    """Words by questions; the first has bars. constants: what the row of constants is called."""
    first, *others = accounts
    found = rows(accounts, of)
    shown = _shown(found, width)
    made = layout.table()
    made.add_column("#", justify="right", style=words.DIM, no_wrap=True)
    made.add_column("word", no_wrap=True)
    made.add_column(heading(first.question), justify="right")
    made.add_column("")
    for account in others:
        made.add_column(heading(account.question), justify="right")
    parted = any(len(row.tokens) > 1 for row in shown)
    if parted:
        made.add_column("its tokens")
    largest = max((abs(row.terms[0]) for row in shown), default=0.0)
    cells = BAR if width >= ROOMY or not others else NARROW
    for row in shown:
        start, stop = row.word.start, row.word.stop
        made.add_row(
            str(start) if stop == start + 1 else f"{start}–{stop - 1}",
            words.token(row.word, longest=LONGEST if width >= ROOMY else words.LONGEST),
            words.signed(row.terms[0]),
            words.bar(row.terms[0], largest, cells if width >= layout.USUAL else NARROW),
            *(words.signed(term) for term in row.terms[1:]),
            *([_parts(row, first, pieces)] if parted else []),
        )
    left = [row for row in found if row not in shown]
    if left:
        _add(made, f"… {len(left)} others", [sum(row.terms[i] for row in left) for i in range(len(accounts))])
    for extra in below(accounts, pieces, constants):
        _add(made, extra.name, extra.values)
    made.add_section()
    _add(made, "sum", [account.question.value for account in accounts])
    spare = [layout.named(column) for column in reversed(made.columns[4:])]
    return layout.narrowed(made, width, spare)


@dataclass(frozen=True)
class Below:
    """A row that tells of no word: its name, its values for every question, and a note on what it is."""

    name: str
    values: list[float]
    meaning: str = ""


def below(accounts: Sequence[Account], pieces: Sequence[Piece], constants: str = CONSTANTS) -> list[Below]:
    """What tells of no word, as far as it is worth a line."""
    sinks = accounts[0].sinks
    named = ", ".join(words.token(pieces[t]).plain for t in sinks)
    found = (
        Below(f"shared by all ({named})", [sum(a.terms[t] for t in sinks) for a in accounts], SHARED),
        Below(constants, [a.constants for a in accounts]),
        Below("not credited", [a.missed for a in accounts], NOT_CREDITED),
    )
    return [row for row in found if (row.meaning == SHARED and sinks) or any(map(words.worth, row.values))]


def heading(question: Question) -> Text:
    """A question as the head of a column."""
    target = words.token(question.target.token)
    if question.against is not None:
        return Text.assemble(target, "\nover ", words.token(question.against.token))
    if question.above == "zero":
        return Text.assemble("logit of\n", target)
    return Text.assemble(target, f"\nover {phrases.BRIEFLY[question.above]}")


def _shown(found: Sequence[WordRow], width: int) -> list[WordRow]:
    if len(found) <= LISTED or width >= EVERYTHING:
        return list(found)
    least = sorted((abs(row.terms[0]) for row in found), reverse=True)[LARGEST - 1]
    return [row for row in found if abs(row.terms[0]) >= least]


def _parts(row: WordRow, account: Account, pieces: Sequence[Piece]) -> Text:
    """The tokens of a word with their own terms."""
    if len(row.tokens) == 1:
        return Text()
    mark = Text(" · ", style=words.DIM)
    return mark.join([Text.assemble(words.token(pieces[t], ""), f" {account.terms[t]:+.2f}") for t in row.tokens])


def _add(made: Table, name: str, values: Sequence[float]) -> None:
    """A row that is no word's, without a bar."""
    numbers = [words.signed(value) for value in values]
    made.add_row("", Text(name, style=words.DIM), numbers[0], "", *numbers[1:])
