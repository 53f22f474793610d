"""The report of `ggufjac extremes`: per token the longest columns, then the longest rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.extremes import Extreme, Extremes, Recurring, TokenExtremes
from ggufjac.reports import phrases, words
from ggufjac.reports.terminal import layout, runs
from ggufjac.reports.terminal.layout import ROOMY, WIDE

#: How many of a token's columns and rows the report lists.
LISTED = 3
#: How many recurring entries it names.
NAMED = 6


def report(extremes: Extremes) -> RenderableType:
    """The report of the longest columns and rows."""
    return layout.Fitted(lambda width: _draw(extremes, width))


def _draw(e: Extremes, width: int) -> Iterable[RenderableType]:
    yield layout.frame(
        "ggufjac extremes",
        [
            ("model", layout.model_line(e.model)),
            *layout.prompt_facts(e.prompt, e.turns, e.notes),
            *runs.run_facts(e.llama, e.device),
            ("predicts", layout.predictions_line(e.predictions, width)),
            ("exactness", runs.exactness_line(e.reconstruction, e.dtype, e.llama, e.rules)),
            ("columns", _again(e.recurring_columns, len(e.tokens))),
            ("rows", _again(e.recurring_rows, len(e.tokens))),
        ],
    )
    explained = "what one entry of a token's vector writes into the output"
    heads = ("entry", "x", "its axis reads", "column writes")
    yield from layout.titled("Columns", explained, _table(e, width, heads, lambda row: row.columns))
    explained = "what one entry of the output reads of a token's vector"
    heads = ("entry", "y", "its axis writes", "row reads")
    yield from layout.titled("Rows", explained, _table(e, width, heads, lambda row: row.rows))
    chance = "" if e.exact else "; found through random probes, lengths are exact, ≈ norms are estimates"
    yield layout.notes(
        "length: of the column or row; share: its square of ‖J_t‖²"
        + ("; x: the token vector's entry; y: the row times it" if width >= ROOMY else ""),
        "vectors and axes are decoded with the sign of x or y, as this prompt uses them" + chance,
        f"{phrases.rules(e.rules)}; {sum(e.seconds.values()):.1f} s of computing",
    )


def _again(found: Sequence[Recurring], n_tokens: int) -> Text:
    if not found:
        return Text("no entry is among the longest of two tokens", style=words.DIM)
    named = [f"{r.entry} ({r.tokens} of {n_tokens})" for r in found[:NAMED]]
    return Text.assemble("the same entries again and again: " if found[0].tokens > 2 else "twice: ", ", ".join(named))


def _table(
    e: Extremes, width: int, heads: Sequence[str], listed: Callable[[TokenExtremes], Sequence[Extreme]]
) -> Table:
    roomy, wide = width >= ROOMY, width >= WIDE
    table = layout.table()
    table.add_column("token", no_wrap=True)
    table.add_column("‖J_t‖", justify="right", style=words.DIM)
    table.add_column(heads[0], justify="right")
    table.add_column("length", justify="right")
    table.add_column("share", justify="right", style=words.DIM)
    if roomy:
        table.add_column(heads[1], justify="right")
        table.add_column(heads[2])
    table.add_column(heads[3])
    for row in e.tokens:
        for i, found in enumerate(listed(row)[:LISTED]):
            table.add_row(
                words.token(row.token) if i == 0 else "",
                ("" if e.exact else "≈") + words.sigma(row.norm) if i == 0 else "",
                str(found.entry),
                words.sigma(found.length),
                words.percent(found.share),
                *([words.signed(found.weight), words.tokens(found.entry_tokens, 2 + wide)] if roomy else []),
                words.tokens(found.tokens, 3 + wide),
            )
    return table
