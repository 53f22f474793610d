"""One change of a comparison in detail: what is predicted, what each token gives to that, which concepts moved."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.common.predictions import Prediction
from ggufjac.analyses.compare.changes import Change, LogitChange, MatchedTriplet, TermChange
from ggufjac.analyses.compare.comparison import Comparison
from ggufjac.reports import phrases, words
from ggufjac.reports.terminal import layout
from ggufjac.reports.terminal.layout import ROOMY, WIDE
from ggufjac.rules import rules_called

#: Input tokens that are shown one by one, those that moved the most.
TOKENS = 16
#: A concept whose left vectors' |cosine| is below the first has moved, below the second it is another one.
SAME, RELATED = 0.95, 0.5


def details(c: Comparison, change: Change, width: int) -> Iterable[RenderableType]:
    """The tables of one change."""
    name = f"{phrases.side(change.one)} → {phrases.side(change.other)}"
    yield from layout.titled(
        f"{name}  prediction", "logit, probability and rank on both sides", _said(c, change, width)
    )
    if any(shift.tokens for shift in change.shifts):
        explained = "exact terms of the logits, and their differences, which add up"
        if not rules_called(c.rules).reconstructs:
            explained = f"terms of the logits by rules {c.rules!r}, which leave something out, and their differences"
        yield from layout.titled(f"{name}  input tokens", explained, _tokens(change, width))
    matched = "left vectors" if not math.isnan(change.left) else "the words that they write"
    explained = f"singular triplets, matched by {matched}: {_verdict(change)}"
    yield from layout.titled(f"{name}  concepts", explained, _concepts(change, width))


def _verdict(change: Change) -> str:
    """What became of the concepts, in a few words."""
    cosines = [concept.cosine for concept in change.concepts]
    if any(math.isnan(x) for x in cosines):
        same = sum(concept.shared > 0 for concept in change.concepts)
        return f"{same} of {len(cosines)} share a word"
    same, related = sum(x >= SAME for x in cosines), sum(RELATED <= x < SAME for x in cosines)
    parts = [f"{same} stay"]
    parts += [f"{related} move"] if related else []
    parts += [f"{len(cosines) - same - related} have no counterpart"] if same + related < len(cosines) else []
    return ", ".join(parts)


def _said(c: Comparison, change: Change, width: int) -> Table:
    table = layout.table()
    table.add_column("token", no_wrap=True)
    for side in (change.one, change.other):
        table.add_column(f"logit\n{phrases.side(side)}", justify="right")
    table.add_column("\nΔ", justify="right")
    for side in (change.one, change.other):
        table.add_column(f"p\n{phrases.side(side)}", justify="right")
    table.add_column("\nrank", justify="right", style=words.DIM)
    if width >= ROOMY:
        table.add_column("")
    for shift in change.shifts:
        before, after = shift.before, shift.after
        moved = Text("·", style=words.DIM)
        if before is not None and after is not None:
            moved = words.signed(after.logit - before.logit)
        cells: list[RenderableType] = [
            words.token(shift.target),
            _logit(before),
            _logit(after),
            moved,
            _probability(before),
            _probability(after),
            f"{_rank(before)} → {_rank(after)}",
        ]
        if width >= ROOMY:
            cells.append(Text(_whose(shift, c, change), style=words.DIM))
        table.add_row(*cells)
    return table


def _whose(shift: LogitChange, c: Comparison, change: Change) -> str:
    """Why a token is in the table."""
    sides = [
        side for side in (change.one, change.other) if c.sides[side].predictions[0].token.text == shift.target.text
    ]
    if not sides:
        return "followed"
    return f"what {' and '.join(map(phrases.side, sides))} predict{'s' if len(sides) == 1 else ''}"


def _logit(prediction: Prediction | None) -> Text:
    return Text("·", style=words.DIM) if prediction is None else words.signed(prediction.logit)


def _probability(prediction: Prediction | None) -> Text:
    return Text("·" if prediction is None else words.percent(prediction.probability))


def _rank(prediction: Prediction | None) -> str:
    return "·" if prediction is None else str(prediction.rank)


def _tokens(change: Change, width: int) -> Table:
    """Rows: positions; columns: of each logit what they gave, give, and the difference; the gap of the predictions."""
    shifts = [shift for shift in change.shifts if shift.tokens][: 1 + (width >= ROOMY)]
    gap = len(shifts) > 1 and width >= WIDE
    table = layout.table()
    table.add_column("#", justify="right", style=words.DIM)
    table.add_column("token")
    for shift in shifts:
        table.add_column(Text.assemble("logit of\n", words.token(shift.target)), justify="right")
        table.add_column("\n→", justify="right")
        table.add_column("\nΔ", justify="right", style="bold")
        table.add_column("")
    if gap:
        names = [words.token(shift.target) for shift in reversed(shifts)]
        table.add_column(Text.assemble("Δ of ", names[0], "\nover ", names[1]), justify="right")
    first, sides = shifts[0].tokens, _terms(shifts)
    moved = [max(abs(shift.tokens[t].after - shift.tokens[t].before) for shift in shifts) for t in range(len(first))]

    def row(number: str, name: Text, terms: Sequence[Sequence[float]], bars: bool = True) -> None:
        before, after = terms
        cells: list[RenderableType] = []
        differences = [y - x for x, y in zip(before, after, strict=True)]
        for x, y, difference in zip(before, after, differences, strict=True):
            cells += [words.signed(x), words.signed(y), words.signed(difference)]
            cells.append(words.bar(difference, max(moved), 6) if bars else "")
        if gap:
            cells.append(words.signed(differences[1] - differences[0]))
        table.add_row(number, name, *cells)

    shown = sorted(sorted(range(len(first)), key=lambda t: -moved[t])[:TOKENS])
    rest = [t for t in range(len(first)) if t not in shown]
    for t in shown:
        row(str(t), _both(first[t]), [[terms[t] for terms in side] for side in sides])
    if rest:
        others = Text(f"{len(rest)} others", style=words.DIM)
        row("", others, [[sum(terms[t] for t in rest) for terms in side] for side in sides])
    constants = [s.constant_before for s in shifts], [s.constant_after for s in shifts]
    if any(map(any, constants)):
        row("", Text("constants", style=words.DIM), constants)
    table.add_section()
    sums = [
        [sum(terms) + constant for terms, constant in zip(side, of_side, strict=True)]
        for side, of_side in zip(sides, constants, strict=True)
    ]
    row("", Text("sum", style=words.DIM), sums, bars=False)
    return table


def _terms(shifts: Sequence[LogitChange]) -> tuple[list[list[float]], list[list[float]]]:
    """The terms by token of every logit, on the one side and on the other."""
    return [[t.before for t in s.tokens] for s in shifts], [[t.after for t in s.tokens] for s in shifts]


def _both(token: TermChange) -> Text:
    if token.one.text == token.other.text:
        return words.token(token.one)
    return Text.assemble(words.token(token.one), (" / ", words.DIM), words.token(token.other))


def _concepts(change: Change, width: int) -> Table:
    roomy = width >= ROOMY
    sized = not math.isnan(change.left)
    table = layout.table()
    table.add_column("", justify="right", style=words.DIM, no_wrap=True)
    table.add_column("σ", justify="right", no_wrap=True)
    table.add_column("|u·u′|" if sized else "words", justify="right")
    if roomy and sized:
        if not math.isnan(change.right):
            table.add_column("|v·v′|", justify="right")
        table.add_column("kept", justify="right", style=words.DIM)
    table.add_column("writes (u)")
    table.add_column("loses")
    table.add_column("gains")
    for concept in change.concepts:
        cells: list[RenderableType] = [
            str(concept.one) if concept.one == concept.other else f"{concept.one} → {concept.other}",
            f"{words.sigma(concept.sigma_one)} → {words.sigma(concept.sigma_other)}",
            _likeness(concept, sized),
        ]
        if roomy and sized:
            cells += [] if math.isnan(change.right) else [f"{concept.right_cosine:.3f}"]
            cells.append(f"{concept.kept:.3f}")
        cells += [
            words.tokens(concept.writes, 2 + roomy),
            words.tokens(concept.lost, 2 + roomy, "red"),
            words.tokens(concept.gained, 2 + roomy, "green"),
        ]
        table.add_row(*cells)
    return layout.narrowed(table, width, ("writes (u)",) if width < layout.USUAL else ())


def _likeness(concept: MatchedTriplet, sized: bool) -> Text:
    if not sized:
        return Text(f"{concept.shared:.2f}")
    style = words.GOOD if concept.cosine >= SAME else words.FAIR if concept.cosine >= RELATED else words.BAD
    return Text(f"{concept.cosine:.3f}", style=style)
