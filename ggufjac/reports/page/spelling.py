"""The text of tokens as a reader sees a text: lines break, characters are whole, and nothing is invisible."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from itertools import groupby

from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.common.words import Word
from ggufjac.readable import escaped
from ggufjac.reports.page.markup import Markup, escape, join, tag

#: A byte that is no character of its own, as a token's text writes it.
BYTE = re.compile(rb"\\x([89a-f][0-9a-f])")
#: What stands for a token without a text, and for one that only begins or continues a character.
EMPTY, PARTIAL = "∅", "·"


def spelled(tokens: Sequence[Piece], words: Sequence[Word]) -> list[str]:
    """The text of every token; words: the same tokens in larger parts. A character that several tokens make (of a word,
    which never cuts one) is the last one's."""
    texts = [piece.text or EMPTY for piece in tokens]
    for word in words:
        pieces = [tokens[t].text for t in range(word.start, word.stop)]
        if "".join(pieces) != word.text:
            whole = _joined(pieces)
            if "".join(whole) == word.text:
                texts[word.start : word.stop] = [text or PARTIAL for text in whole]
    return texts


def drawn(text: str) -> Markup:
    """A text in which lines break and what has no shape is written as an escape."""
    return join(_alike(kind, "".join(group)) for kind, group in groupby(text, _kind))


def _joined(pieces: Sequence[str]) -> list[str]:
    """Texts with bytes in place of characters, decoded across the borders of their tokens."""
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    raw = [BYTE.sub(lambda m: bytes([int(m[1], 16)]), text.encode("utf-8", "surrogatepass")) for text in pieces]
    return [decoder.decode(piece, final=i == len(raw) - 1) for i, piece in enumerate(raw)]


def _kind(character: str) -> str:
    if character == "\n":
        return "line"
    return "text" if character.isprintable() or character == "\t" else "hidden"


def _alike(kind: str, text: str) -> Markup:
    if kind == "line":
        return join(join((tag("span", class_="nl"), "\n")) for _ in text)
    if kind == "hidden":
        return tag("span", "".join(map(escaped, text)), class_="esc")
    return escape(text)
