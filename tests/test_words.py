"""Tokens as words: nothing is lost, nothing is cut, and words are what a reader would call so."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggufjac.analyses.common.words import words_of

#: Tokens that are words each.
CODE = ["\n", "\n", "def", "\n", "    ", "return", "  ", " x"]
CHAT = ["<|im_start|>", "user", "\n", "Hi", "<|im_end|>", "\n"]


def grouped(*pieces: str | bytes, special: str = "<|") -> list[str]:
    """The texts of the words; a piece that begins with `special` is a special token."""
    raw = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
    return [word.text for word in words_of(raw, [piece.startswith(special.encode()) for piece in raw])]


@given(st.lists(st.tuples(st.binary(max_size=6), st.booleans())))
def test_every_token_is_in_one_word_and_no_byte_is_lost(tokens: list[tuple[bytes, bool]]) -> None:
    pieces, special = [piece for piece, _ in tokens], [so for _, so in tokens]
    words = words_of(pieces, special)
    assert [t for word in words for t in range(word.start, word.stop)] == list(range(len(pieces)))
    for word in words:
        assert word.text == b"".join(pieces[word.start : word.stop]).decode("utf-8", "backslashreplace")
        assert word.stop == word.start + 1 or not any(special[word.start : word.stop])


@given(st.text(), st.randoms(use_true_random=False))
def test_a_character_is_never_cut_and_the_text_is_the_words(text: str, chance: random.Random) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    cuts = sorted(chance.sample(range(len(raw) + 1), min(len(raw), 5)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    if "\ud800" <= max(text, default="") <= "\udfff":
        return
    words = words_of(pieces, [False] * len(pieces))
    assert "".join(word.text for word in words) == text


@given(st.text(alphabet="ab .,'\n1é中", max_size=20))
def test_cutting_tokens_finer_makes_no_more_words_than_characters_ask_for(text: str) -> None:
    """Of bytes as tokens the words are those of characters as tokens."""
    by_character = grouped(*text, special="\0")
    assert grouped(*(bytes([b]) for b in text.encode()), special="\0") == by_character


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (["The", " capital", " of", " France", " is"], ["The", " capital", " of", " France", " is"]),
        (["un", "bel", "iev", "able", " story"], ["unbelievable", " story"]),
        (["Hello", ",", " world", "!", "!"], ["Hello", ",", " world", "!", "!"]),
        ([" don", "'t", " we", "'", "ll"], [" don't", " we'll"]),
        ([" '", "quoted", "'", " word"], [" '", "quoted", "'", " word"]),
        ([" ", "1", "2", " +", " 3", ".", "1", "4", "."], [" 12", " +", " 3.14", "."]),
        (["get", "_", "value", "(", "x", ")"], ["get_value", "(", "x", ")"]),
        (CODE, CODE),
        (CHAT, CHAT),
        (["日本", "語", "です", " ok"], ["日本", "語", "です", " ok"]),
        ([b"\xe6\x97", b"\xa5", "本"], ["日", "本"]),
        (["caf", b"\xc3", b"\xa9", "s"], ["cafés"]),
        (["cafe", "\u0301", "s"], ["cafe\u0301s"]),
        (["हि", "न्", "दी"], ["हिन्दी"]),
        ([b"\xf0\x9f", b"\x91\xa9", "\u200d", "👧", "!"], ["👩\u200d👧", "!"]),
        (["a", b"\xff", b"\xfe", "b"], ["a", "\\xff", "\\xfe", "b"]),
    ],
)  # fmt: skip
def test_words_are_what_a_reader_calls_so(pieces: list[str | bytes], words: list[str]) -> None:
    assert grouped(*pieces) == words
