"""The report of `ggufjac inspect`."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ggufjac.analyses.inspect import Inspection
from ggufjac.readable import readable, visible
from ggufjac.reports import words


def inspection_report(found: Inspection, *, tensors: bool = False) -> RenderableType:
    parts: list[RenderableType] = [
        Panel(_head(found), title=Text("ggufjac inspect", style="bold"), title_align="left", box=box.ROUNDED),
        *_keys(found),
        *_chat(found),
        _types(found),
    ]
    if tensors:
        parts.append(_tensors(found))
    return Group(*parts)


def _head(found: Inspection) -> Table:
    facts = found.facts
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=words.DIM, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("model", Text(readable(facts.name), style="bold"))
    for path in found.files:
        grid.add_row("file", Text(readable(path)))
    size = f"{words.count(facts.weights)} weights, {words.byte_size(facts.bytes)}, GGUF version {found.version}"
    grid.add_row("size", Text(size))
    if found.refusal is None:
        grid.add_row("analysis", Text(f"yes: the family {readable(facts.architecture)} is supported", style=words.GOOD))
    else:
        grid.add_row("analysis", Text(readable(f"no: {found.refusal}"), style=words.BAD))
    for note in found.notes:
        grid.add_row("note", Text(readable(note), style=words.FAIR))
    return grid


def _keys(found: Inspection) -> list[RenderableType]:
    """The metadata: of a model its own, of a file that is none whatever it says of itself."""
    own = [_pairs(f"{readable(found.facts.architecture)}.*", found.hyper)] if found.hyper or not found.refusal else []
    others = [_pairs("other keys", found.others)] if found.refusal and found.others else []
    tokenizer = (
        [] if found.refusal and "tokens" not in found.tokenizer else [_pairs("tokenizer.ggml.*", found.tokenizer)]
    )
    return [*own, *others, *tokenizer]


def _pairs(title: str, pairs: dict[str, str]) -> Table:
    table = _table(title)
    table.add_column("key", style=words.DIM)
    table.add_column("value", overflow="fold")
    for key, value in pairs.items():
        table.add_row(Text(readable(key)), Text(readable(value)))
    return table


def _chat(found: Inspection) -> list[RenderableType]:
    """What the chat template makes of an example."""
    if found.chat is None and found.chat_refusal is None:
        return []
    table = _table("chat template")
    table.add_column("an example" if found.chat is not None else "it makes nothing of an example", overflow="fold")
    for line in (found.chat or found.chat_refusal or "").splitlines(keepends=True):
        table.add_row(Text(visible(line), style="" if found.chat is not None else words.BAD))
    return [table]


def _types(found: Inspection) -> Table:
    table = _table("tensors by type")
    table.add_column("type")
    for column in ("tensors", "weights", "bytes", "bits/weight"):
        table.add_column(column, justify="right")
    for use in found.types:
        bits = f"{8 * use.bytes / use.weights:.2f}" if use.weights else ""
        table.add_row(use.type, str(use.tensors), words.count(use.weights), words.byte_size(use.bytes), bits)
    return table


def _tensors(found: Inspection) -> Table:
    table = _table("tensors")
    table.add_column("name", overflow="fold")
    table.add_column("type")
    table.add_column("shape", justify="right")
    table.add_column("bytes", justify="right")
    for line in found.tensors:
        shape = " x ".join(map(str, line.shape))
        table.add_row(Text(readable(line.name)), line.type, shape, words.byte_size(line.bytes))
    return table


def _table(title: str) -> Table:
    return Table(
        title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold"
    )
