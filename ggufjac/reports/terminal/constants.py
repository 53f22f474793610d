"""The table of a network's constants: the largest first, and at which tokens they mostly enter."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from ggufjac.analyses.common.constants import ConstantTerms
from ggufjac.analyses.common.tokens import Piece
from ggufjac.reports import constants, words
from ggufjac.reports.terminal import layout


def table(sources: Sequence[ConstantTerms], tokens: Sequence[Piece], width: int) -> Table:
    """What the constants give to the first question, which the sum at the foot says."""
    out = layout.table()
    out.add_column("constant")
    out.add_column("term", justify="right")
    out.add_column("")
    out.add_column("mostly entering at", no_wrap=True)
    groups = constants.groups(sources)
    largest = max(abs(group.term) for group in groups)
    for group in groups:
        t = max(range(len(group.positions)), key=lambda t: abs(group.positions[t]))
        at = Text.assemble((f"{t} ", words.DIM), words.token(tokens[t]), " ", words.signed(group.positions[t]))
        out.add_row(group.label, words.signed(group.term), words.bar(group.term, largest), at)
    out.add_section()
    out.add_row(Text("sum", style=words.DIM), words.signed(sum(group.term for group in groups)), "", "")
    return layout.narrowed(out, width, ("mostly entering at", ""))
