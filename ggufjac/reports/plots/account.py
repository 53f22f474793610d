"""The picture of an account: which words mattered, and what tells of no word."""

from __future__ import annotations

from collections.abc import Sequence

from ggufjac.analyses.common.account import Account
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.common.words import Word
from ggufjac.reports import account as report
from ggufjac.reports.plots import shapes
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.style import figure
from ggufjac.reports.plots.text import drawable, label, phrase


def words(account: Account, of: Sequence[Word], pieces: Sequence[Piece]) -> Picture:
    """The words that matter most, by their terms."""
    rows = report.rows((account,), of)
    shown = [rows[i] for i in shapes.most([row.terms[0] for row in rows])]
    below = report.below((account,), pieces)
    labels, values = [label(row.word) for row in shown], [row.terms[0] for row in shown]
    title = report.title(account.rules)
    about = f"{phrase(report.about(account))}{shapes.of_all(len(shown), len(rows), 'words')}"
    fig = figure(7.4, 1.3 + 0.3 * len(values), title, about)
    axes = fig.add_subplot()
    shapes.bars(axes, labels, values)
    # as numbers: as bars they would leave the words' without length
    apart = ", ".join(f"{drawable(row.name)} {row.values[0]:+.2f}" for row in below)
    axes.set_xlabel(f"logits; beside the words {apart}" if apart else "logits")
    return Picture("words", title, fig)
