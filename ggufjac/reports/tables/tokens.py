"""The table of `ggufjac tokenize`."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ggufjac.readable import readable, visible
from ggufjac.reports import words
from ggufjac.reports.terminal import layout


def tokens_report(told: dict[str, Any]) -> RenderableType:
    """A row for every token, then the notes; told: as `ggufjac.cli.tokenize` gathers it."""
    rows = told["tokens"]
    chat = any(row["role"] for row in rows)
    table = layout.table()
    table.add_column("#", justify="right", style=words.DIM)
    table.add_column("id", justify="right")
    table.add_column("token", overflow="fold")
    table.add_column("", style=words.DIM)
    for row in rows:
        table.add_row(
            str(row["position"]),
            str(row["id"]),
            Text(readable(row["text"]), style="" if row["special"] else words.TOKEN),
            ("special" if row["special"] else "") if row["role"] is None else readable(row["role"]),
        )
    count = f"{len(rows)} token" + ("" if len(rows) == 1 else "s")
    what = "; those of the messages have their role beside them" if chat else ""
    notes = [Text(f"note: {visible(note)}", style=words.FAIR) for note in told["notes"]]
    return Group(table, Text(count + what, style=words.DIM), *notes)
