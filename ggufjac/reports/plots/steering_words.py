"""Pictures of `steer --say`: what more strength does."""

from __future__ import annotations

from collections.abc import Iterator

from ggufjac.analyses.steer.words import SteeredWords
from ggufjac.reports.plots.picture import Picture
from ggufjac.reports.plots.strengths import strengths
from ggufjac.reports.plots.text import label


def pictures(s: SteeredWords) -> Iterator[Picture]:
    """The gain and the price, by strength."""
    title = f"Steering towards words at layer {s.layer}"
    named = ", ".join(label(piece) for piece in s.words[:6])
    yield strengths(title, f"{named}; price: KL of the next token on ordinary texts", s.steered, s.price, s.best)
