"""Tokens on a page: words with a card of numbers, and shaded text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.common.words import Word
from ggufjac.reports.account import WordRow
from ggufjac.reports.cells import ColourScale
from ggufjac.reports.page.markup import Markup, join, tag
from ggufjac.reports.page.shades import key, shade
from ggufjac.reports.phrases import Phrase

#: Names and values.
Card: TypeAlias = "tuple[tuple[str, object], ...]"


def word(piece: Piece | Word, *names: str) -> Markup:
    """A token's text, isolated from the direction of what stands around it."""
    return tag("bdi", piece.shown, class_=" ".join(("word", *names)))


def phrase(parts: Phrase) -> str:
    """Texts and tokens one after the other, as plain text."""
    return "".join(part.shown if isinstance(part, Piece) else part for part in parts)


def words_of(pieces: Iterable[Piece], target: int | None = None) -> Markup:
    """Tokens in full. The one with the id `target` stands out."""
    return join((word(piece, "target") if piece.id == target else word(piece) for piece in pieces), " · ")


def carded(shown: object, card: Card, *names: str, style: str | None = None) -> Markup:
    """Something that shows a card of names and values while it is pointed at or has the focus."""
    rows = join(tag("span", tag("span", name, class_="name"), tag("span", value), class_="row") for name, value in card)
    tip = tag("span", rows, class_="tip", role="tooltip")
    return tag("span", shown, tip, class_=" ".join(("carded", *names)), tabindex="0", style=style)


@dataclass(frozen=True)
class Shaded:
    """A token or a word of a prompt, the value that shades it (NaN: it is left pale), and its card."""

    token: Piece | Word
    value: float
    card: Card


def shaded_text(tokens: Sequence[Shaded], shown: str = "+.2f", *, largest: float | None = None) -> Markup:
    """A prompt as text, each token shaded by its value beside the largest, and the key.

    largest: None: that of all but the first one, which has the largest value nearly always and would leave the others
    without colour. shown: the format of a number in the key.
    """
    if largest is None:
        largest = max((abs(t.value) for t in tokens[1:] or tokens if math.isfinite(t.value)), default=0.0)
    scale = ColourScale(largest, shown)
    out = []
    for t in tokens:
        name, style = shade(t.value, scale)
        out.append(carded(word(t.token), t.card, *(name.split() or ["heat"]), style=style))
        if "\n" in t.token.text:
            out.append(Markup("<br>"))
    return join((tag("p", *out, class_="prompt"), key(scale, (t.value for t in tokens))))


def shaded_words(rows: Sequence[WordRow], words: Sequence[Word], card: Callable[[Word], Card]) -> Markup:
    """A prompt's words shaded by what they give; those that are nothing but sinks are pale."""
    terms = {row.word: row.terms[0] for row in rows}
    largest = max(map(abs, terms.values()), default=0.0)
    return shaded_text([Shaded(w, terms.get(w, math.nan), card(w)) for w in words], largest=largest)
