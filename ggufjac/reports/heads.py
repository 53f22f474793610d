"""Heads of attention in the words of reports."""

from __future__ import annotations

from ggufjac.analyses.attribute import Attribution
from ggufjac.analyses.heads import HeadTerms
from ggufjac.reports import words


def name(head: HeadTerms) -> str:
    """Its layer and its number there."""
    return f"{head.layer}.{head.head}"


def weight(head: HeadTerms, t: int) -> str:
    """With which probability a head reads token t, or what else it multiplies its values by."""
    return words.percent(head.weights[t]) if head.shares else f"×{head.weights[t]:.2f}"


def others(a: Attribution) -> tuple[int, float]:
    """How many heads are not among those that are told of, and what they give together."""
    every = [total for layer in a.layer_heads for total in layer.totals]
    return len(every) - len(a.heads), sum(every) - sum(head.total for head in a.heads)


def beside(a: Attribution) -> float:
    """What the writes with heads give besides these."""
    return sum(layer.rest for layer in a.layer_heads)
