"""The report of `ggufjac answer`: the answer, where each token came from, where all of it came from, close calls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.answer.answering import Answer, Said
from ggufjac.analyses.common.spans import Part
from ggufjac.analyses.common.tokens import readable
from ggufjac.reports import account, answer, phrases, words
from ggufjac.reports.answer import Source
from ggufjac.reports.terminal import layout, runs
from ggufjac.reports.terminal.layout import ROOMY
from ggufjac.reports.terminal.terms import BAR, LARGEST, LISTED, LONGEST, NARROW

#: Words that are shown of a source.
SOURCE = 18


def report(found: Answer) -> RenderableType:
    """The report of one answer."""
    return layout.Fitted(lambda width: _draw(found, width))


def _draw(a: Answer, width: int) -> Iterable[RenderableType]:
    yield _head(a, width)
    parts = a.parts()
    about = words.phrase(answer.explained(a)).plain
    told = f"{about}, rules {a.rules!r}: the {a.by}s before it that gave most"
    yield from layout.titled("Token by token", told, _tokens(a, parts, width))
    if any(said.tipped is not None for said in a.said) and a.above != "token":
        told = "the closest places, and what set the token apart from its runner-up"
        yield from layout.titled("Where it was close", told, _close(a, parts, width))
    told = f"sums over the answer of {about}"
    yield from layout.titled("The whole answer", told, _whole(a, parts, width))
    if a.turns and a.by not in ("message", "role"):
        yield from layout.titled("By message", "the same sums", _whole(a, a.parts("message"), width))
    yield layout.notes(*_notes(a))


def _head(a: Answer, width: int) -> RenderableType:
    opinion = answer.opinion(a)
    agrees = a.judged is None or a.judged.agrees
    return layout.frame(
        "ggufjac answer",
        [
            ("model", layout.model_line(a.model)),
            ("prompt", Text(readable(a.prompt), style="italic")),
            *runs.run_facts(a.llama, a.device),
            ("answer", Text(a.text.strip() or readable(a.text), style="bold")),
            ("said", Text(f"{len(a.said)} tokens, {answer.sampling(a)}")),
            *([] if opinion is None else [("llama.cpp", Text(opinion, style="" if agrees else words.BAD))]),
            ("exactness", runs.exactness_line(a.reconstruction, a.dtype, a.llama, a.rules)),
        ],
    )


def _tokens(a: Answer, parts: Sequence[Part], width: int) -> Table:
    table = layout.table()
    table.add_column("#", justify="right", style=words.DIM, no_wrap=True)
    table.add_column("token", no_wrap=True)
    table.add_column("p", justify="right", no_wrap=True)
    table.add_column("or", no_wrap=True)
    for i in range(answer.STRONGEST):
        table.add_column("given most by" if i == 0 else "", no_wrap=True)
    for said in a.said:
        strongest = answer.strongest(answer.sources(a, said.account, parts))
        cells = [_source(source, SOURCE if width >= ROOMY else SOURCE // 2) for source in strongest]
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


def _source(source: Source, longest: int) -> Text:
    shown = readable(source.part.label)
    shown = shown if len(shown) <= longest else shown[: longest - 1] + "…"
    return Text.assemble((shown, "cyan"), " ", words.signed(source.term))


def _close(a: Answer, parts: Sequence[Part], width: int) -> Table:
    table = layout.table()
    table.add_column("#", justify="right", style=words.DIM, no_wrap=True)
    table.add_column("said", no_wrap=True)
    table.add_column("not said", no_wrap=True)
    table.add_column("apart", justify="right", no_wrap=True)
    table.add_column("for it")
    table.add_column("against it")
    for said in a.decisive:
        found = answer.sources(a, answer.decisive(said), parts)
        n = answer.STRONGEST - (width < ROOMY)
        ahead = answer.strongest([source for source in found if source.term > 0], n)
        behind = answer.strongest([source for source in found if source.term < 0], n)
        table.add_row(
            str(said.position),
            _chance(said.token.token.shown, said.token.probability, words.TOKEN),
            _chance(said.runner_up.token.shown, said.runner_up.probability, ""),
            words.signed(said.lead),
            _several(ahead),
            _several(behind),
        )
    return layout.narrowed(table, width, ("against it",))


def _chance(shown: str, probability: float, style: str) -> Text:
    return Text.assemble((shown[: words.LONGEST], style), (f" {words.percent(probability)}", words.DIM))


def _several(found: Sequence[Source]) -> Text:
    return Text("  ").join([_source(source, SOURCE) for source in found])


def _whole(a: Answer, parts: Sequence[Part], width: int) -> Table:
    found = answer.whole(a, parts)
    shown = found
    if len(found) > LISTED:
        chosen = {id(source) for source in answer.strongest(found, LARGEST)}
        shown = [source for source in found if id(source) in chosen]
    table = layout.table()
    table.add_column("#", justify="right", style=words.DIM, no_wrap=True)
    table.add_column("part", no_wrap=True)
    table.add_column("sum", justify="right")
    table.add_column("", no_wrap=True)
    largest = max((abs(source.term) for source in shown), default=0.0)
    longest = (LONGEST if a.by in ("token", "word") else 2 * LONGEST) if width >= ROOMY else LONGEST
    for source in shown:
        start, stop = source.part.positions[0], source.part.positions[-1]
        label = readable(source.part.label)
        said = source.part.positions[0] >= a.n_prompt
        table.add_row(
            str(start) if start == stop else f"{start}–{stop}",
            Text(label if len(label) <= longest else label[: longest - 1] + "…", style="bold" if said else words.TOKEN),
            words.signed(source.term),
            words.bar(source.term, largest, BAR if width >= layout.USUAL else NARROW),
        )
    if len(shown) < len(found):
        left = sum(source.term for source in found) - sum(source.term for source in shown)
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
            "over chance: a token that all the vocabulary's were as likely as would have 0; the sums are of ln p"
        )
    besides = answer.beside(a)
    if words.worth(besides.shared):
        lines.append(account.SHARED)
    if words.worth(besides.missed):
        lines.append(account.NOT_CREDITED)
    return [*lines, f"{phrases.rules(a.rules)}; {sum(a.seconds.values()):.1f} s of computing"]
