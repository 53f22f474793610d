"""The report of `ggufjac verify`."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.common.tokens import Piece, Speller
from ggufjac.analyses.judge.verify import PromptCheck, Verification
from ggufjac.readable import readable
from ggufjac.reports import words

#: Cells of a prompt that a table shows at most, and the cells that the other columns take.
LONGEST_PROMPT, OTHER_COLUMNS = 40, 75
STYLES = {"MATCH": words.GOOD, "NEAR-TIE": words.FAIR, "MISMATCH": words.BAD}


class VerificationReport:
    """One table per kind of check and a verdict at the end; prompts are cut to what the width leaves for them."""

    def __init__(self, results: Sequence[Verification], speller: Speller) -> None:
        self.results = results
        self.speller = speller

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = min(LONGEST_PROMPT, max(6, options.max_width - OTHER_COLUMNS))
        for result in self.results:
            yield Text()
            yield _title(result)
            yield _table(result, self.speller, room)
        yield _verdict(self.results)


def _title(result: Verification) -> Text:
    if result.kind == "direct":
        about = "the file as it is, last position; llama.cpp rounds activations to 8 bits, exact arithmetic does not"
    else:
        about = f"float32 copy, float32 cache, every position; tolerance {words.small(result.limit)} of the spread"
        if result.gelu_table:
            about += "; llama.cpp's float16 GELU table emulated on our side"
    return Text.assemble((result.kind, "bold"), ("  " + about, words.DIM))


def _table(result: Verification, speller: Speller, room: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="bold")
    table.add_column("verdict", no_wrap=True)
    table.add_column("prompt", max_width=room, no_wrap=True, overflow="ellipsis")
    table.add_column("T", justify="right", no_wrap=True)
    table.add_column("largest\n/ spread", justify="right", no_wrap=True)
    if result.kind == "direct":
        table.add_column("KL", justify="right", no_wrap=True)
        table.add_column("first\nten", justify="right", no_wrap=True)
        table.add_column("exact", no_wrap=True)
        table.add_column("llama.cpp", no_wrap=True)
        table.add_column("margin", justify="right", no_wrap=True)
    else:
        if result.gelu_table:
            table.add_column("same\nGELU", justify="right", no_wrap=True)
        table.add_column("worst\nstep", justify="right", no_wrap=True)
        table.add_column("at", no_wrap=True)
        if any(check.first_bad for check in result.checks):
            table.add_column("first bad\nstep", no_wrap=True)
    for check in result.checks:
        table.add_row(*_common(check), *(_direct(check, speller) if result.kind == "direct" else _twin(check, result)))
    return table


def _common(check: PromptCheck) -> list[RenderableType]:
    verdict = check.verdict
    return [
        Text(verdict, style=STYLES[verdict]),
        Text(readable(check.prompt)),
        str(check.n_tokens),
        words.small(check.worst),
    ]


def _direct(check: PromptCheck, speller: Speller) -> list[RenderableType]:
    g = check.agreement
    ours: Piece = speller.piece(g.ours)
    return [
        words.small(g.kl),
        str(g.overlap),
        words.token(ours),
        words.token(speller.piece(g.theirs)),
        f"{g.margin:.2f}±{g.noise:.2f}" if g.ours != g.theirs else "",
    ]


def _twin(check: PromptCheck, result: Verification) -> list[RenderableType]:
    cells: list[RenderableType] = []
    if result.gelu_table:
        cells.append("" if check.same_gelu is None else words.small(check.same_gelu))
    if not check.layers:
        return [*cells, "", ""]
    worst = max(check.layers, key=lambda layer: layer.relative)
    bad = [Text(check.first_bad, style=words.BAD)] if check.first_bad else []
    return [*cells, words.small(worst.relative), worst.name, *bad]


def _verdict(results: Sequence[Verification]) -> Text:
    if all(result.agrees for result in results):
        checks = sum(len(result.checks) for result in results)
        return Text(f"ggufjac and llama.cpp agree ({checks} checks).", style=words.GOOD)
    failed = sum(check.verdict == "MISMATCH" for result in results for check in result.checks)
    return Text(f"ggufjac and llama.cpp disagree in {failed} checks.", style=words.BAD)
