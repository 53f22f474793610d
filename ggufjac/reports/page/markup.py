"""Pieces of HTML. Text becomes markup only through `escape` or `tag`, so that no token can become an element."""

from __future__ import annotations

import html
from collections.abc import Iterable

from ggufjac.readable import escaped


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(value: object) -> Markup:
    """Any value as the text of an element or of a quoted attribute; Markup stays as it is.

    Characters that no HTML document may hold (controls, lone surrogates) are written as escapes.
    """
    if isinstance(value, Markup):
        return value
    text = "".join(c if _allowed(c) else escaped(c) for c in str(value))
    return Markup(html.escape(text))


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """An element with its children escaped. An attribute that is None or False is left out, one that is True has no
    value; underscores at a name's end are dropped, others become hyphens (`class_`, `data_v`).
    """
    out = []
    for key, value in attributes.items():
        shown = key.rstrip("_").replace("_", "-")
        if value is True:
            out.append(f" {shown}")
        elif value is not None and value is not False:
            out.append(f' {shown}="{escape(value)}"')
    return Markup(f"<{name}{''.join(out)}>{join(children)}</{name}>")


def join(children: Iterable[object], mark: str = "") -> Markup:
    """Children side by side, each of them escaped."""
    return Markup(escape(mark).join(escape(child) for child in children if child is not None))


def _allowed(character: str) -> bool:
    code = ord(character)
    return not (code < 32 and character not in "\t\n") and not 0x7F <= code < 0xA0 and not 0xD800 <= code < 0xE000
