"""The table of `ggufjac families`, made from the families themselves."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from ggufjac.families import ARCHITECTURES


def rows() -> list[tuple[str, str]]:
    """(architecture names, what the family is) for every family, in alphabetical order."""
    families = sorted(set(ARCHITECTURES.values()), key=lambda family: family.architectures)
    return [(", ".join(family.architectures), family.summary()) for family in families]


def families_table() -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("architecture", style="bold")
    table.add_column("models and features")
    for names, summary in rows():
        table.add_row(Text(names), Text(summary))
    return table


def families_markdown() -> str:
    """The same table as Markdown; the README holds it between its `families` marks."""
    lines = ["| architecture | models and features |", "|---|---|"]
    return "\n".join(lines + [f"| {names} | {summary} |" for names, summary in rows()])
