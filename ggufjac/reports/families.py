"""The table of `ggufjac families`, made from the families themselves."""

from __future__ import annotations

from rich import box
from rich.table import Table

from ggufjac.families import FAMILIES


def families_table() -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("architecture", style="bold", no_wrap=True)
    table.add_column("models and features")
    for family in FAMILIES:
        table.add_row(", ".join(family.architectures), family.summary())
    return table
