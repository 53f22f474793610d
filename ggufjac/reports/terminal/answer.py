"""The report of `ggufjac answer`: the answer, where each token came from, where all of it came from, close calls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.answer.answering import Answer, Said
from ggufjac.analyses.answer.spans import TEMPLATE
from ggufjac.readable import readable, visible_lines
from ggufjac.reports import account, answer, phrases, words
from ggufjac.reports.answer import Giver
from ggufjac.reports.terminal import layout, runs
from ggufjac.reports.terminal.layout import ROOMY
from ggufjac.reports.terminal.terms import BAR, LARGEST, LISTED, LONGEST, NARROW

#: Letters of a passage that a row names.
LABEL = 18


def report(found: Answer) -> RenderableType:
    """The report of one answer."""
    return layout.Fitted(lambda width: _draw(found, width))


def _draw(a: Answer, width: int) -> Iterable[RenderableType]:
    yield _head(a, width)
    about = words.phrase(answer.explained(a)).plain
    told = f"{about}, rules {a.rules!r}: the {a.by}s before it that gave most"
    yield from layout.titled("Token by token", told, _tokens(a, width))
    if any(said.tipped is not None for said in a.said) and a.above != "token":
        told = "the closest places, and what set the token apart from its runner-up"
        yield from layout.titled("Where it was close", told, _close(a, width))
    told = f"sums over the answer of {about}"
    yield from layout.titled("The whole answer", told, _whole(a, a.by, width))
    if a.turns and a.by not in ("message", "role"):
        yield from layout.titled("By message", "the same sums", _whole(a, "message", width))
    yield layout.notes(*_notes(a))


def _head(a: Answer, width: int) -> RenderableType:
    opinion = answer.opinion(a)
    agrees = a.judged is None or a.judged.agrees
    return layout.frame(
        "ggufjac answer",
        [
            ("model", layout.model_line(a.model)),
            *layout.prompt_facts(a.prompt, a.turns, a.notes),
            *runs.run_facts(a.llama, a.device),
            ("answer", Text(visible_lines(a.text.strip()) or readable(a.text), style="bold")),
            ("said", Text(answer.said_how(a))),
            *([] if opinion is None else [("llama.cpp", Text(opinion, style="" if agrees else words.BAD))]),
            ("exactness", runs.exactness_line(a.reconstruction, a.dtype, a.llama, a.rules)),
        ],
    )


def _tokens(a: Answer, width: int) -> Table:
    table = layout.table()
    table.add_column("#", justify="right", style=words.DIM, no_wrap=True)
    table.add_column("token", no_wrap=True)
    table.add_column("p", justify="right", no_wrap=True)
    table.add_column("or", no_wrap=True)
    for i in range(answer.STRONGEST):
        table.add_column("given most by" if i == 0 else "", no_wrap=True)
    for said in a.said:
        strongest = answer.strongest(answer.givers(a, said.account))
        cells = [_giver(a, giver, LABEL if width >= ROOMY else LABEL // 2) for giver in strongest]
        table.add_row(
            str(said.position),
            words.token(said.token.token),
            words.percent(said.token.probability),
            _rival(said, width),
            *cells,
            *[""] * (answer.STRONGEST - len(cells)),
        )
    return layout.narrowed(table, width, ("or",))


def _rival(said: Said, width: int) -> Text:
    if said.runner_up.probability < 0.001 and said.token.rank == 1:
        return Text("")
    shown = words.token(said.runner_up.token, "", words.LONGEST if width >= ROOMY else 10)
    return shown.append(f" {words.percent(said.runner_up.probability)}", style=words.DIM)


def _giver(a: Answer, giver: Giver, longest: int) -> Text:
    """What gave, where it stands, and how much; what the answer had said itself looks like it."""
    first = giver.passage.positions[0]
    if giver.passage.label == answer.SHARED:
        return Text.assemble((answer.SHARED, words.DIM), " ", words.signed(giver.term))
    shown = _label(giver, longest)
    return Text.assemble(
        (shown, _style(a, first)), (words.numbered("", first), words.DIM), " ", words.signed(giver.term)
    )


def _label(giver: Giver, longest: int) -> str:
    shown = readable(giver.passage.label)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def _style(a: Answer, position: int) -> str:
    return "bold" if position >= a.n_prompt else "cyan"


def _close(a: Answer, width: int) -> Table:
    table = layout.table()
    table.add_column("#", justify="right", style=words.DIM, no_wrap=True)
    table.add_column("said", no_wrap=True)
    table.add_column("not said", no_wrap=True)
    table.add_column("apart", justify="right", no_wrap=True)
    table.add_column("for it", no_wrap=True)
    table.add_column("against it", no_wrap=True)
    for said in a.decisive:
        assert said.tipped is not None
        found = answer.with_shared(a, said.tipped)
        n = answer.STRONGEST - (width < ROOMY)
        ahead = answer.strongest([giver for giver in found if giver.term > 0], n)
        behind = answer.strongest([giver for giver in found if giver.term < 0], n)
        table.add_row(
            str(said.position),
            _chance(said.token.token.shown, said.token.probability, words.TOKEN),
            _chance(said.runner_up.token.shown, said.runner_up.probability, ""),
            words.signed(said.lead),
            _several(a, ahead, width),
            _several(a, behind, width),
        )
    return table


def _chance(shown: str, probability: float, style: str) -> Text:
    return Text.assemble((shown[: words.LONGEST], style), (f" {words.percent(probability)}", words.DIM))


def _several(a: Answer, found: Sequence[Giver], width: int) -> Text:
    return Text("\n").join([_giver(a, giver, LABEL if width >= ROOMY else LABEL // 2) for giver in found])


def _whole(a: Answer, by: str, width: int) -> Table:
    found = answer.whole(a, by)
    shown = found
    if len(found) > LISTED:
        chosen = {giver.passage for giver in answer.strongest(found, LARGEST)}
        shown = [giver for giver in found if giver.passage in chosen or giver.passage.label == TEMPLATE]
    table = layout.table()
    table.add_column("#", justify="right", style=words.DIM, no_wrap=True)
    table.add_column(by, no_wrap=True)
    table.add_column("sum", justify="right")
    table.add_column("", no_wrap=True)
    # as with sinks: what all prompts share would leave the others without length
    largest = max((abs(giver.term) for giver in shown if giver.passage.label != TEMPLATE), default=0.0)
    longest = 2 * LONGEST if width >= ROOMY and by == "sentence" else LONGEST
    for giver in shown:
        start, stop = giver.passage.positions[0], giver.passage.positions[-1]
        whose = words.DIM if giver.passage.label == TEMPLATE else _style(a, start)
        table.add_row(
            "" if giver.passage.label == TEMPLATE else str(start) if start == stop else f"{start}–{stop}",
            Text(_label(giver, longest), style=whose),
            words.signed(giver.term),
            words.bar(giver.term, largest, BAR if width >= layout.USUAL else NARROW),
        )
    if len(shown) < len(found):
        left = sum(giver.term for giver in found) - sum(giver.term for giver in shown)
        _add(table, f"… {len(found) - len(shown)} others", left)
    besides = answer.beside(a)
    for name, value in (
        ("shared by all", besides.shared),
        ("constants", besides.constants),
        ("not credited", besides.missed),
    ):
        if words.worth(value):
            _add(table, name, value)
    table.add_section()
    _add(table, "sum", besides.value)
    return table


def _add(table: Table, name: str, value: float) -> None:
    table.add_row("", Text(name, style=words.DIM), words.signed(value), "")


def _notes(a: Answer) -> list[str]:
    lines = []
    if a.above == "chance":
        lines.append(
            "a token that is as likely as any other has 0 over chance; sums of ln p are those of the answer as a whole"
        )
    besides = answer.beside(a)
    if words.worth(besides.shared):
        lines.append(account.SHARED)
    if words.worth(besides.missed):
        lines.append(account.NOT_CREDITED)
    return [*lines, f"{phrases.rules(a.rules)}; {sum(a.seconds.values()):.1f} s of computing"]
