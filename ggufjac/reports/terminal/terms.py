"""The tables of terms that several reports show: of words, which come first, and of a network's constants."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from ggufjac.analyses.common.account import Account
from ggufjac.analyses.common.constants import ConstantTerms
from ggufjac.analyses.common.questions import Question
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.common.words import Word
from ggufjac.chat.prompt import Turn, role_at
from ggufjac.readable import visible
from ggufjac.reports import account, constants, phrases, words
from ggufjac.reports.account import CONSTANTS, WordRow
from ggufjac.reports.terminal import layout
from ggufjac.reports.terminal.layout import EVERYTHING, ROOMY
from ggufjac.rules import rules_called

#: Words that a table lists at most, and how many of them where there are more; a page lists all of them.
LISTED, LARGEST = 24, 16
#: The longest word that is shown whole where there is room.
LONGEST = 32
#: The heading of the column that says whose a word is.
TURN = "turn"
#: Cells of a bar, and of one in a narrow terminal.
BAR, NARROW = 24, 12


def of_words(
    accounts: Sequence[Account],
    of: Sequence[Word],
    pieces: Sequence[Piece],
    width: int,
    name: str = CONSTANTS,
    turns: Sequence[Turn] = (),
) -> Table:
    """Words by questions; the first has bars. name: what the row of constants is called; turns: of a chat."""
    first, *others = accounts
    found = account.rows(accounts, of)
    shown = _shown(found, width, turns)
    made = layout.table()
    made.add_column("#", justify="right", style=words.DIM, no_wrap=True)
    if turns:
        made.add_column(TURN, style=words.DIM, no_wrap=True)
    made.add_column("word", no_wrap=True)
    made.add_column(heading(first.question), justify="right")
    made.add_column("", no_wrap=True)
    for other in others:
        made.add_column(heading(other.question), justify="right")
    parted = any(len(row.tokens) > 1 for row in shown)
    if parted:
        made.add_column("its tokens")
    largest = max((abs(row.terms[0]) for row in shown), default=0.0)
    cells = BAR if width >= ROOMY or not others else NARROW
    for row in shown:
        start, stop = row.word.start, row.word.stop
        made.add_row(
            words.positions(start, stop),
            *([visible(role_at(turns, start) or "")] if turns else []),
            words.token(row.word, longest=LONGEST if width >= ROOMY else words.LONGEST),
            words.signed(row.terms[0]),
            words.bar(row.terms[0], largest, cells if width >= layout.USUAL else NARROW),
            *(words.signed(term) for term in row.terms[1:]),
            *([_parts(row, first, pieces)] if parted else []),
        )
    left = [row for row in found if row not in shown]
    templates = [row for row in left if turns and role_at(turns, row.word.start) is None]
    others_left = [row for row in left if row not in templates]
    for rows, called in ((others_left, "others"), (templates, "of the template")):
        if rows:
            values = [sum(row.terms[i] for row in rows) for i in range(len(accounts))]
            _add(made, f"… {len(rows)} {called}", values, turns)
    for extra in account.below(accounts, pieces, name):
        _add(made, extra.name, extra.values, turns)
    made.add_section()
    _add(made, "sum", [each.question.value for each in accounts], turns)
    spare = [layout.named(column) for column in reversed(made.columns[4 + bool(turns) :])]
    return layout.narrowed(made, width, [*spare, TURN])


def of_constants(sources: Sequence[ConstantTerms], tokens: Sequence[Piece], width: int) -> Table:
    """What the constants give to the first question, which the sum at the foot says."""
    out = layout.table()
    out.add_column("constant")
    out.add_column("term", justify="right")
    out.add_column("", no_wrap=True)
    out.add_column("mostly entering at", no_wrap=True)
    groups = constants.groups(sources)
    largest = max(abs(group.term) for group in groups)
    for group in groups:
        t = max(range(len(group.positions)), key=lambda t: abs(group.positions[t]))
        at = Text.assemble((f"{t} ", words.DIM), words.token(tokens[t]), " ", words.signed(group.positions[t]))
        out.add_row(group.label, words.signed(group.term), words.bar(group.term, largest), at)
    out.add_section()
    out.add_row(Text("sum", style=words.DIM), words.signed(sum(group.term for group in groups)), "", "")
    return layout.narrowed(out, width, ("mostly entering at", ""))


def explains(of: Account) -> Text:
    """The quantity and its value, for the head of a report."""
    q = of.question
    out = Text.assemble(words.phrase(phrases.question(q)), (f" {q.value:+.4f}", "bold"))
    if q.against is None:
        out.append(f"  rank {q.target.rank}, {words.percent(q.target.probability)}", style=words.DIM)
        out.append(f", logit {q.target.logit:.2f}" if q.above != "zero" else "", style=words.DIM)
    else:
        sides = f"  {words.percent(q.target.probability)} and {words.percent(q.against.probability)}"
        out.append(f"{sides}: their ratio is e to the difference", style=words.DIM)
    if rules_called(of.rules).reconstructs:
        missing = words.small(abs(of.missed) / max(1.0, abs(q.target.logit)))
        return out.append(f"; the terms add up to it within {missing}", style=words.DIM)
    return out.append(f"; {of.missed:+.2f} is credited to no token", style=words.DIM)


def heading(question: Question) -> Text:
    """A question as the head of a column."""
    target = words.token(question.target.token)
    if question.against is not None:
        return Text.assemble(target, "\nover ", words.token(question.against.token))
    if question.above in ("zero", "chance"):
        return Text.assemble("logit of\n" if question.above == "zero" else "ln p of\n", target)
    return Text.assemble(target, f"\nover {phrases.BRIEFLY[question.above]}")


def _shown(found: Sequence[WordRow], width: int, turns: Sequence[Turn]) -> list[WordRow]:
    """The rows that are listed: of a long prompt the largest, of a chat those of its messages."""
    if len(found) <= LISTED or width >= EVERYTHING:
        return list(found)
    said = [row for row in found if not turns or role_at(turns, row.word.start) is not None]
    largest = sorted((abs(row.terms[0]) for row in said), reverse=True)[:LARGEST]
    return [row for row in said if abs(row.terms[0]) >= min(largest)]


def _parts(row: WordRow, of: Account, pieces: Sequence[Piece]) -> Text:
    """The tokens of a word with their own terms."""
    if len(row.tokens) == 1:
        return Text()
    mark = Text(" · ", style=words.DIM)
    return mark.join([Text.assemble(words.token(pieces[t], ""), f" {of.terms[t]:+.2f}") for t in row.tokens])


def _add(made: Table, name: str, values: Sequence[float], turns: Sequence[Turn]) -> None:
    """A row that is no word's, without a bar."""
    numbers = [words.signed(value) if value else "" for value in values]
    made.add_row("", *([""] if turns else []), Text(name, style=words.DIM), numbers[0], "", *numbers[1:])
