"""Text from outside (files, paths, tokens, a model's metadata) as it may stand in any output.

What a terminal would obey, what cannot be seen and what is no character is written as an escape, so that a title, a
colour or a clipboard is nobody's but the reader's, a picture is well-formed XML, and a line is one line.
"""

from __future__ import annotations

import re
import unicodedata


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


def curtailed(text: str, name: int = 400, whole: int = 3000) -> str:
    """`text` with the middle left out of every name in it (in quotation marks, or without spaces) that is longer than
    `name`, and of what is longer than `whole` all the same."""
    named = re.compile(rf"'[^']{{{name},}}'|\S{{{name},}}")
    return _without_middle(named.sub(lambda found: _without_middle(found[0], name), text), whole)


def _without_middle(text: str, longest: int) -> str:
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]}…{text[-half:]}"


def visible_lines(text: str) -> str:
    """`visible` of every line of a text whose lines stay."""
    return "\n".join(map(visible, text.split("\n")))


def harmless(text: str) -> str:
    """`text` as a terminal may have it: all of it, but controls other than tabs and ends of lines as escapes."""
    return "".join(visible(c) if unicodedata.category(c) == "Cc" and c not in "\n\t" else c for c in text)


def storable(text: str) -> str:
    """`text` as every file, table and encoder takes it: what is no character (`escaped`) is written as an escape; all
    else stays."""
    return "".join(escaped(c) if "\ud800" <= c <= "\udfff" else c for c in text)


def storable_json(text: str) -> str:
    """The same for JSON, whose own escapes keep halves of characters, so that a reader has the name as it is."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def escaped(character: str) -> str:
    """A character as an escape. A byte of a name that is no UTF-8 is \\xNN; Python holds it as half of a character."""
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def _seen(character: str) -> str:
    if character == "\n":
        return "⏎"
    return character if character.isprintable() else escaped(character)
