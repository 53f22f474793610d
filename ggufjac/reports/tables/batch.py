"""The report of `ggufjac run`: how far it has come, how exact it is, and what failed."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.batch.summary import Failure, Group, Summary
from ggufjac.readable import readable, visible
from ggufjac.reports import words
from ggufjac.reports.terminal import layout
from ggufjac.reports.terminal.layout import ROOMY

#: Failures that are listed, and the longest text of a prompt there.
FAILURES, LONGEST = 12, 32
#: What there is in place of an error, where rules do not reconstruct.
LEFT_OUT = (
    "not credited: no error, but the mean share of the output that the rules leave out, so that their terms credit it "
    "to no token; rules that reconstruct (detached, gate, half) miss only what rounding does"
)
VERDICTS = {"MATCH": words.GOOD, "NEAR-TIE": words.FAIR, "MISMATCH": words.BAD}


def report(summary: Summary) -> RenderableType:
    """The report of a batch."""
    return layout.Fitted(lambda width: _draw(summary, width))


def _draw(s: Summary, width: int) -> Iterable[RenderableType]:
    folder = visible(s.folder)
    yield _head(s)
    yield from layout.titled("Models", "one row for each analysis", _groups(s, width))
    if s.notes:
        yield from layout.titled("Notes", "each once, and how many units it is about", _notes(s))
    if s.failures:
        shown = s.failures[:FAILURES]
        explained = "tried again by the next run" + (f"; {len(shown)} of {s.failed}" if len(shown) < s.failed else "")
        yield from layout.titled("Failures", explained, _failures(shown, width))
    yield layout.notes(
        "misses: mean ≤ largest relative error of the linear maps; llama.cpp: its first token beside the exact",
        *([LEFT_OUT] if any(group.left_out is not None for group in s.groups) else []),
        f"rows: {folder}/batch.sqlite; reports: ggufjac show {folder}/results/KEY.safetensors",
    )


def _head(s: Summary) -> RenderableType:
    counts = Text(f"{s.done} done", style="bold")
    counts.append(f"   {s.failed} failed", style=words.BAD if s.failed else words.DIM)
    counts.append(f"   {s.pending} to do", style=words.FAIR if s.pending else words.DIM)
    time = Text(words.duration(sum(group.seconds for group in s.groups)))
    return layout.frame("ggufjac run", [("folder", Text(visible(s.folder))), ("units", counts), ("computing", time)])


def _groups(s: Summary, width: int) -> Table:
    roomy = width >= ROOMY
    table = layout.table()
    table.add_column("model", overflow="fold")
    table.add_column("analysis")
    table.add_column("done", justify="right")
    if s.failed:
        table.add_column("failed", justify="right")
    if s.pending:
        table.add_column("to do", justify="right")
    table.add_column("misses", justify="right", no_wrap=True)
    table.add_column("llama.cpp", no_wrap=True)
    if roomy:
        table.add_column("KL", justify="right", style=words.DIM)
        table.add_column("time", justify="right")
    table.add_column("each" if roomy else "time\neach", justify="right")
    for group in s.groups:
        table.add_row(*_group(s, group, roomy))
    return table


def _group(s: Summary, g: Group, roomy: bool) -> list[RenderableType]:
    none = Text("·", style=words.DIM)
    missed = []
    if g.reconstruction is not None and g.worst is not None:
        missed.append(words.small(g.reconstruction) + (f" ≤ {words.small(g.worst)}" if roomy else ""))
    if g.left_out is not None:
        missed.append(f"not credited {words.percent(g.left_out)}")
    verdicts = Text("\n").join([Text(f"{n} {verdict}", style=VERDICTS[verdict]) for verdict, n in g.verdicts.items()])
    computed = g.done + g.failed
    cells: list[RenderableType] = [
        Text(readable(g.model.removesuffix(".gguf"))),
        g.analysis,
        str(g.done),
        *([Text(str(g.failed), style=words.BAD if g.failed else words.DIM)] if s.failed else []),
        *([Text(str(g.pending), style=words.FAIR if g.pending else words.DIM)] if s.pending else []),
        "\n".join(missed) if missed else none,
        verdicts if g.verdicts else none,
    ]
    if roomy:
        cells += [none if g.kl is None else words.small(g.kl), words.duration(g.seconds)]
    cells.append(words.duration(g.seconds / computed) if computed else none)
    return cells


def _notes(s: Summary) -> Table:
    table = layout.table()
    table.add_column("units", justify="right")
    several = len({group.model for group in s.groups}) > 1
    if several:
        table.add_column("model", overflow="fold")
    table.add_column("note", overflow="fold")
    for note in s.notes:
        models = Text(", ".join(readable(name.removesuffix(".gguf")) for name in note.models))
        table.add_row(str(note.units), *([models] if several else []), Text(visible(note.text), style=words.FAIR))
    return table


def _failures(failures: Iterable[Failure], width: int) -> Table:
    table = layout.table()
    table.add_column("line", justify="right", style=words.DIM)
    if width >= ROOMY:
        table.add_column("prompt")
    table.add_column("model", overflow="fold")
    table.add_column("why", overflow="fold")
    for failure in failures:
        shown = readable(failure.prompt)
        named = (
            Text(readable(failure.id), style="bold") if failure.id is not None else Text(_short(shown), style="italic")
        )
        prompt = [named] if width >= ROOMY else []
        table.add_row(
            str(failure.line),
            *prompt,
            Text(readable(failure.model.removesuffix(".gguf"))),
            Text(visible(failure.error)),
        )
    return table


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
