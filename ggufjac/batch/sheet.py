"""The table of a batch as CSV, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from ggufjac.readable import storable

#: Columns that mean something to ggufjac alone, or that have columns of their own.
INSIDE = ("key", "bytes", "extra", "traceback")


def csv_of(rows: Sequence[sqlite3.Row], keys: Collection[str] | None = None) -> str:
    """The rows of a store with the given keys (None: all) as CSV with a first line of names.

    The fields that their prompts had besides are columns too, under their own names, or "extra.NAME" where there is
    such a column already.
    """
    chosen = [row for row in rows if keys is None or row["key"] in keys]
    own = [name for name in (chosen[0].keys() if chosen else ()) if name not in INSIDE]
    extras: list[dict[str, Any]] = [json.loads(row["extra"]) if row["extra"] else {} for row in chosen]
    more = list(dict.fromkeys(name for extra in extras for name in extra))
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*own, *(f"extra.{name}" if name in own else name for name in more)])
    for row, extra in zip(chosen, extras, strict=True):
        writer.writerow([*(row[name] for name in own), *(_cell(extra.get(name)) for name in more)])
    return out.getvalue()


def _cell(value: Any) -> Any:
    """A value of JSON as a cell: numbers and texts as they are, halves of characters as escapes."""
    if isinstance(value, str):
        return storable(value)
    return value if value is None or type(value) in (int, float) else json.dumps(value)
