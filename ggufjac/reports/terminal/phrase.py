"""Sections about a target of several tokens: what the prompt's words give to the whole of it, and to each token."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.ablate import PhraseChange
from ggufjac.analyses.answer.phrase import Phrase, PhraseLens
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.common.words import Word
from ggufjac.readable import readable
from ggufjac.reports import words
from ggufjac.reports.terminal import layout
from ggufjac.reports.terminal.terms import BAR, LARGEST, LISTED, NARROW

#: Tokens of a phrase that have a column of their own at most.
COLUMNS = 6


def sections(
    phrases: Sequence[Phrase], against: Phrase | None, of: Sequence[Word], sinks: Sequence[int], width: int
) -> Iterable[RenderableType]:
    """For every phrase the words of the prompt by what they give to it; above the one it is held against."""
    for phrase in phrases:
        name = readable(phrase.text)
        title = f"The whole of {name}"
        over = "over chance" if against is None else f"over {readable(against.text)}"
        about = f"terms by rules {phrase.rules!r} of ln p {over}, p {_percent(phrase)}"
        if against is not None:
            about += f" and {_percent(against)}"
        yield from layout.titled(title, about, _of_words(phrase, against, of, sinks, width))


def of_lens(found: Sequence[PhraseLens], text: str) -> Table:
    """ln p of a phrase in what leaves every layer, and of each of its tokens."""
    table = layout.table()
    table.add_column("layer", justify="right", style=words.DIM)
    table.add_column(f"ln p of {readable(text)}", justify="right")
    for i in range(len(found[0].tokens)):
        table.add_column(f"token {i + 1}", justify="right", style=words.DIM)
    for row in found:
        table.add_row(str(row.layer), words.signed(row.log_probability), *(words.signed(ln_p) for ln_p in row.tokens))
    return table


def of_changes(found: Sequence[PhraseChange], pieces: Sequence[Piece], phrase: Phrase) -> Table:
    """By how much ln p of a phrase changes without tokens of the prompt."""
    table = layout.table()
    table.add_column("#", justify="right", style=words.DIM)
    table.add_column("token", no_wrap=True)
    for name in ("zeroed", "left out", "term"):
        table.add_column(name, justify="right")
    for change, piece in zip(found, pieces, strict=True):
        table.add_row(
            str(change.position),
            words.token(piece),
            words.signed(change.zeroed),
            Text("·", style=words.DIM) if change.left_out is None else words.signed(change.left_out),
            words.signed(phrase.terms[change.position]),
        )
    return table


def _percent(phrase: Phrase) -> str:
    return words.percent(math.exp(phrase.log_probability))


def _of_words(phrase: Phrase, against: Phrase | None, of: Sequence[Word], sinks: Sequence[int], width: int) -> Table:
    tokens = phrase.accounts[:COLUMNS]
    table = layout.table()
    table.add_column("#", justify="right", style=words.DIM, no_wrap=True)
    table.add_column("word", no_wrap=True)
    table.add_column("sum", justify="right")
    table.add_column("", no_wrap=True)
    heads = [words.token(account.question.target.token, "", 10) for account in tokens]
    if against is not None:
        heads = [words.token(Piece(0, each.text), "", 10) for each in (phrase, against)]
    for head in heads:
        table.add_column(head, justify="right")

    def columns(positions: Sequence[int]) -> list[float]:
        """Of some positions of the prompt: the sum, and what stands beside it."""
        if against is None:
            own = [sum(account.terms[t] for t in positions) for account in tokens]
            return [sum(phrase.terms[t] for t in positions), *own]
        both = [sum(each.terms[t] for t in positions) for each in (phrase, against)]
        return [both[0] - both[1], *both]

    rows = []
    for word in of:
        positions = [t for t in range(word.start, word.stop) if t not in sinks]
        if positions:
            rows.append((word, columns(positions)))
    shown = rows
    if len(rows) > LISTED:
        chosen = sorted(range(len(rows)), key=lambda i: -abs(rows[i][1][0]))[:LARGEST]
        shown = [rows[i] for i in sorted(chosen)]
    largest = max((abs(values[0]) for _, values in shown), default=0.0)
    for word, values in shown:
        _add(table, str(word.start), words.token(word), values, width, largest)
    left = [values for row in rows if row not in shown for values in [row[1]]]
    below = [("shared by all", columns(list(sinks)))]
    if left:
        below.insert(0, (f"… {len(left)} others", [sum(each) for each in zip(*left, strict=True)]))
    below += [(name, _beside(phrase, against, name)) for name in ("its own tokens", "constants", "not credited")]
    for name, values in below:
        if any(map(words.worth, values)):
            _add(table, "", Text(name, style=words.DIM), values, width)
    table.add_section()
    _add(table, "", Text("sum", style=words.DIM), _beside(phrase, against, "sum"), width)
    return layout.narrowed(table, width, [layout.named(column) for column in reversed(table.columns[4:])])


def _add(
    table: Table, place: str, name: Text, values: Sequence[float], width: int, largest: float | None = None
) -> None:
    bar = "" if largest is None else words.bar(values[0], largest, BAR if width >= layout.ROOMY else NARROW)
    table.add_row(place, name, words.signed(values[0]), bar, *map(words.signed, values[1:]))


def _beside(phrase: Phrase, against: Phrase | None, name: str) -> list[float]:
    """What tells of no word of the prompt, by its name: the sum, and what stands beside it."""
    n = len(phrase.accounts[0].terms)

    def of(each: Phrase) -> float:
        return {
            "its own tokens": each.own,
            "constants": each.constants,
            "not credited": each.missed,
            "sum": each.value,
        }[name]

    if against is not None:
        return [of(phrase) - of(against), of(phrase), of(against)]
    own = [
        {
            "its own tokens": sum(account.terms[n:]),
            "constants": account.constants,
            "not credited": account.missed,
            "sum": account.question.value,
        }[name]
        for account in phrase.accounts[:COLUMNS]
    ]
    return [of(phrase), *own]
