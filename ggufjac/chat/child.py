"""The process that renders a template: `python -m ggufjac.chat.child`, a request as JSON in, an answer as JSON out.

The request has template, messages, variables, add_generation_prompt, continues, now, seconds, memory and longest, as in
`ggufjac.chat.template`. The answer is {"text", "spans"} or {"error": KIND, "reason"}.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeAlias

Messages: TypeAlias = "list[dict[str, Any]]"

#: What is put behind the last message to see where the template puts its end (transformers'; its space tells whether
#: the template keeps spaces at the end).
END = "CONTINUE_FINAL_MESSAGE_TAG "
#: What stands for the contents in a second rendering, which tells where they go.
MARK = "GgufjacContent{}Mark"
#: What ends a model's thoughts, which templates take out of earlier answers.
THOUGHT = "</think>"


class TooLong(Exception):
    """More text than is taken."""


def main() -> int:
    """Answer one request."""
    request = json.loads(sys.stdin.buffer.read())
    limit(request["seconds"], request["memory"])
    try:
        answer = rendered(request)
    except BaseException as error:  # whatever a stranger's program comes to is told, never shown as our own failure
        answer = {"error": type(error).__name__, "reason": _reason(error)}
    sys.stdout.write(json.dumps(answer))
    return 0


def limit(seconds: int, memory: int) -> None:
    """Bound this process's time of computing and its memory, where the system can."""
    with suppress(ImportError):
        import resource

        for what, most in (("RLIMIT_CPU", seconds), ("RLIMIT_AS", memory), ("RLIMIT_CORE", 0), ("RLIMIT_FSIZE", 0)):
            with suppress(AttributeError, OSError, ValueError):
                resource.setrlimit(getattr(resource, what), (most, most))


def rendered(request: dict[str, Any]) -> dict[str, Any]:
    """The text, and where the messages' contents stand in it (empty where that is not to be told)."""
    from ggufjac.chat.environment import environment

    template = environment(datetime.fromisoformat(request["now"])).from_string(request["template"])
    variables = {
        **request["variables"],
        "tools": None,
        "documents": None,
        "add_generation_prompt": request["add_generation_prompt"],
    }

    def render(messages: Messages) -> str:
        parts, size = [], 0
        for part in template.generate(messages=messages, **variables):
            size += len(part)
            if size > request["longest"]:
                raise TooLong
            parts.append(part)
        return "".join(parts)

    messages: Messages = request["messages"]
    contents = [message["content"] for message in messages]
    typed = _wants_parts(render, messages)
    continues: bool = request["continues"]
    text = _ended(render, _written(messages, contents, typed), continues)
    marks = [MARK.format(i) for i in range(len(contents))]
    spans: list[tuple[int, int]] = []
    with suppress(Exception):  # a template may refuse the marks where it takes the contents
        spans = places(text, _ended(render, _written(messages, marks, typed), continues), contents)
    return {"text": text, "spans": spans}


def places(text: str, marked: str, contents: Sequence[str]) -> list[tuple[int, int]]:
    """Where the contents stand in a text, told from the same with marks in their places; empty where the two do not
    agree. A template may strip a content, leave it out, or keep of an answer what comes after its thoughts."""
    literals = re.split(MARK.format(r"(\d+)"), marked)
    at = len(literals[0])
    if not text.startswith(literals[0]):
        return []
    found = [(0, 0)] * len(contents)
    for name, literal in zip(literals[1::2], literals[2::2], strict=True):
        content = contents[int(name)]
        said = content.rpartition(THOUGHT)[2]
        forms = (content, content.strip(), content.rstrip(), content.lstrip(), content.strip("\n"), said, said.strip())
        form = next((form for form in forms if text.startswith(form + literal, at)), None)
        if form is None:
            return []
        found[int(name)] = (at, at + len(form))
        at += len(form) + len(literal)
    return found if at == len(text) else []


def _wants_parts(render: Callable[[Messages], str], messages: Messages) -> bool:
    """Whether a template takes a content as a list of parts alone: it then loses a text, or fails on it."""
    marks = [MARK.format(i) for i in range(len(messages))]

    def shows(typed: bool) -> bool:
        with suppress(Exception):
            return marks[-1] in render(_written(messages, marks, typed))
        return False

    return not shows(False) and shows(True)


def _written(messages: Messages, contents: Sequence[str], typed: bool) -> Messages:
    """The messages with other contents."""
    return [
        {**message, "content": [{"type": "text", "text": content}] if typed else content}
        for message, content in zip(messages, contents, strict=True)
    ]


def _ended(render: Callable[[Messages], str], messages: Messages, continues: bool) -> str:
    """The rendering; continues: up to the end of the last message's content, as transformers cuts it."""
    if not continues:
        return render(messages)
    last = dict(messages[-1])
    content = last["content"]
    last["content"] = (
        content + END if isinstance(content, str) else [{"type": "text", "text": content[0]["text"] + END}]
    )
    whole = render([*messages[:-1], last])
    at = whole.rfind(END.strip())
    if at < 0:
        raise LookupError("it leaves out the last message, so that its text cannot go on")
    return whole[:at] if whole.startswith(END, at) else whole[:at].rstrip()


def _reason(error: BaseException) -> str:
    line = getattr(error, "lineno", None)
    return str(error) + (f" (line {line})" if line is not None else "")


if __name__ == "__main__":
    sys.exit(main())
