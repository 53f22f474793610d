"""Text from outside (files, paths, tokens, a model's metadata) as it may stand in any output.

What a terminal would obey, what cannot be seen and what is no character is written as an escape, so that a title, a
colour or a clipboard is nobody's but the reader's, a picture is well-formed XML, and a line is one line.
"""

from __future__ import annotations

import os
from pathlib import Path


def readable(text: str) -> str:
    """`text` on one line, with what cannot be seen made visible."""
    if not text:
        return "∅"
    body = text.strip(" ")
    if not body:
        return "␣" * len(text)
    left = len(text) - len(text.lstrip(" "))
    right = len(text) - len(text.rstrip(" "))
    return "␣" * left + visible(body) + "␣" * right


def visible(text: str) -> str:
    """A part of a text as `readable` shows it, spaces at its edges as they are. A newline is ⏎, so that a typed
    backslash and n is told from it."""
    return "".join(map(_seen, text))


def briefly(text: str, longest: int = 200) -> str:
    """`visible` of what may be of any length, an error's message that quotes a file."""
    shown = visible(text[: longest + 1])
    return shown if len(text) <= longest else f"{shown[:longest]}…"


def visible_lines(text: str) -> str:
    """`visible` of every line of a text whose lines stay."""
    return "\n".join(map(visible, text.split("\n")))


def storable(text: str) -> str:
    """`text` as every file, table and encoder takes it: halves of characters (bytes of a path that are no UTF-8) are
    written as \\udcNN, which is what JSON calls them; all else stays."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def name_of(path: Path) -> str:
    """The name of a file as a text, in which bytes that are no UTF-8 are written as \\xNN."""
    return os.fsencode(path.name).decode("utf-8", "backslashreplace")


def _seen(character: str) -> str:
    if character == "\n":
        return "⏎"
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
