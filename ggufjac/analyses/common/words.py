"""A prompt's tokens as words, as a person reads them: cut at spaces, punctuation by itself.

Where words end is decided on the text's characters, and a token begins a word where it begins at such an end. So a
token is never cut, tokens that are parts of one character stay together, and scripts that are written without spaces
are left token by token.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from ggufjac.analyses.common.tokens import Speller
from ggufjac.readable import readable

#: Scripts without spaces between words: Thai and Lao, Burmese, Khmer; kana, bopomofo and Han characters.
UNSPACED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x318F), (0x3400, 0x4DBF), (0x4E00, 0x9FFF),
            (0xF900, 0xFAFF), (0x20000, 0x3FFFF))  # fmt: skip
#: Signs that stay within a word between two letters ("don't"), and those that do between two digits ("3.14").
IN_LETTERS, IN_DIGITS = "'’", ".,"
#: What glues two characters together (emoji), and the colours of skin that follow one.
JOINER, SKINS = "\u200d", range(0x1F3FB, 0x1F400)


@dataclass(frozen=True)
class Word:
    """Neighbouring tokens that read as one word. text: theirs; start, stop: their positions, from start to stop - 1."""

    text: str
    start: int
    stop: int

    @property
    def shown(self) -> str:
        """The text on one line, as a token's is shown."""
        return readable(self.text)


def words_of(pieces: Sequence[bytes], special: Sequence[bool]) -> tuple[Word, ...]:
    """The words of a prompt; pieces: what its tokens stand for; special: which of them are no text of their own (BOS,
    ends of turns), each of which is a word by itself."""
    starts: list[int] = []
    for is_special, group in groupby(range(len(pieces)), lambda t: special[t]):
        tokens = list(group)
        starts += tokens if is_special else _starts(tokens, [pieces[t] for t in tokens])
    ends = [*starts[1:], len(pieces)]
    return tuple(
        Word(b"".join(pieces[start:stop]).decode("utf-8", "backslashreplace"), start, stop)
        for start, stop in zip(starts, ends, strict=False)
    )


def words_in(speller: Speller, ids: Sequence[int]) -> tuple[Word, ...]:
    """The words that tokens make."""
    return words_of([speller.raw(i) for i in ids], [speller.special(i) for i in ids])


def _starts(tokens: Sequence[int], pieces: Sequence[bytes]) -> Iterator[int]:
    """Of tokens in a row, those that begin a word."""
    text = b"".join(pieces).decode("utf-8", "surrogateescape")
    ends, at = {0}, 0
    for i, character in enumerate(text):
        if i and _parted(text, i):
            ends.add(at)
        at += len(character.encode("utf-8", "surrogateescape"))
    at = 0
    for token, piece in zip(tokens, pieces, strict=True):
        if at in ends or not piece:
            yield token
        at += len(piece)


def _parted(text: str, i: int) -> bool:
    """Whether a word ends before character i."""
    before, after = text[i - 1], text[i]
    if after.isspace():
        return True
    if _extends(after) or before == JOINER:
        return False
    if before.isspace():  # one space leads the word that follows; more of them are an indentation
        return before != " " or text[i - 2 : i - 1] == " "
    base = i - 1
    while base and _extends(text[base]):
        base -= 1
    return not (_spelled(text[base]) and _spelled(after)) and not (_within(text, i) or _within(text, i - 1))


def _within(text: str, i: int) -> bool:
    """Whether character i is a sign inside of a word or a number."""
    before, after = text[max(0, i - 1) : i], text[i + 1 : i + 2]
    if text[i] in IN_LETTERS:
        return before.isalpha() and after.isalpha()
    return text[i] in IN_DIGITS and before.isdigit() and after.isdigit()


def _spelled(character: str) -> bool:
    """Whether it is written together with its neighbours: letters, digits and the underscore."""
    code = ord(character)
    return (character.isalnum() or character == "_") and not any(first <= code <= last for first, last in UNSPACED)


def _extends(character: str) -> bool:
    """Whether it belongs to the character before: accents and vowel signs, and what changes an emoji."""
    return unicodedata.category(character)[0] == "M" or character == JOINER or ord(character) in SKINS
