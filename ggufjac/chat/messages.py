"""Messages as people write them: JSON in OpenAI's format, dicts, pairs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from ggufjac.chat.prompt import Message
from ggufjac.errors import UserError

EXAMPLE = '[{"role": "user", "content": "Hi"}]'
#: What a message may hold. What else OpenAI's format knows (tool calls, names) no message here can say.
FIELDS = ("role", "content")
#: What stands between the parts of a content, as in llama.cpp.
BETWEEN = "\n"

#: A message as functions take it.
MessageLike: TypeAlias = "Message | Mapping[str, Any]"


def parse_messages(text: str, where: str) -> tuple[Message, ...]:
    """The messages of a JSON text: a list of {"role", "content"}, or an object that has it as "messages".

    where: what messages of errors say. Raises UserError for anything else.
    """
    try:
        found: Any = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise UserError(f"{where}: this is no JSON ({reason}); messages look like {EXAMPLE}") from None
    if isinstance(found, dict) and "messages" in found:
        found = found["messages"]
    if not isinstance(found, list):
        raise UserError(f"{where}: this is no list of messages; they look like {EXAMPLE}")
    return messages_of(found, where)


def messages_of(messages: str | Iterable[MessageLike], where: str = "messages") -> tuple[Message, ...]:
    """Messages that are given as such or as dicts; a text is the user's only one.

    Raises UserError where one is none, and where there are none.
    """
    if isinstance(messages, str):
        return (Message("user", messages),)
    if isinstance(messages, Mapping | Message) or not isinstance(messages, Iterable):
        raise UserError(f"{where}: give a list of messages, as {EXAMPLE}")
    found = tuple(_message(one, f"{where}, message {i}") for i, one in enumerate(messages, 1))
    if not found:
        raise UserError(f"{where}: there is no message; they look like {EXAMPLE}")
    return found


def _message(given: Any, where: str) -> Message:
    if isinstance(given, Message):
        given = {"role": given.role, "content": given.content}
    if not isinstance(given, Mapping):
        raise UserError(f"{where} is no object; messages look like {EXAMPLE}")
    unknown = [name for name, value in given.items() if name not in FIELDS and value is not None]
    if unknown:
        raise UserError(f"{where}: the field {unknown[0]!r} is not understood; the fields are {' and '.join(FIELDS)}")
    role = given.get("role")
    if not isinstance(role, str) or not role:
        raise UserError(f"{where}: the role is {_shown(role)}; it is a text such as system, user or assistant")
    content = _content(given.get("content"), where)
    for name, text in (("role", role), ("content", content)):
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise UserError(f"{where}: the {name} holds half of a character (a lone surrogate), which is no text")
    return Message(role, content)


def _content(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise UserError(f"{where}: the content is {_shown(value)}; it is a text, or a list of parts of the type text")
    parts = []
    for part in value:
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise UserError(f'{where}: a part of its content is not of the form {{"type": "text", "text": ...}}')
        parts.append(part["text"])
    return BETWEEN.join(parts)


def _shown(value: Any) -> str:
    return "missing" if value is None else json.dumps(value, default=repr)[:60]
