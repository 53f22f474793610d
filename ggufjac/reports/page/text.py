"""A report's words, as they are drawn in a terminal, as HTML: styles become classes, bars become bars."""

from __future__ import annotations

from rich.console import Console
from rich.style import Style
from rich.text import Text

from ggufjac.reports import words
from ggufjac.reports.cells import CUT, Bar
from ggufjac.reports.page.markup import Markup, join, tag

#: The styles of a report's words (ggufjac.reports.words) and their classes; the first that fits is taken.
CLASSES = (
    (Style.parse(words.DIM), "dim"),
    (Style.parse(words.TOKEN), "tok"),
    (Style.parse(words.BAD), "bad"),
    (Style.parse(words.GOOD), "good"),
    (Style.parse(words.FAIR), "fair"),
    (Style(color="red"), "neg"),
    (Style(color="blue"), "pos"),
)


def from_text(text: Text) -> Markup:
    """Text with its styles as classes. Each run is isolated, so that a token's direction stays its own."""
    if isinstance(text, Bar):
        return bar(text)
    out = []
    for segment in text.render(Console(width=80), end=""):
        lines = join(segment.text.split("\n"), Markup("<br>"))
        name = class_of(segment.style or text.style)  # rich leaves a text's own style to its console
        out.append(tag("span", lines, class_=name) if name else tag("bdi", lines) if segment.text.strip() else lines)
    return join(out)


def bar(drawn: Bar) -> Markup:
    """A bar that fills a share of its place; one that is longer ends in the mark that the notes explain."""
    names = f"bar {'neg' if drawn.negative else 'pos'}{' cut' if drawn.cut else ''}"
    return tag("span", CUT if drawn.cut else "", class_=names, style=f"--v:{min(1.0, drawn.share):.4f}")


def class_of(style: Style | str | None) -> str:
    """The class of a style; "" for none."""
    if not style:
        return ""
    found = Style.parse(style) if isinstance(style, str) else style
    for known, name in CLASSES:
        if found.color == known.color and (not known.bold or found.bold):
            return f"{name} strong" if found.bold and name not in ("tok", "bad") else name
    return " ".join(name for name, so in (("strong", found.bold), ("said", found.italic)) if so)
