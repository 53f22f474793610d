"""Files of prompts: one per line, or one JSON object per line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ggufjac.errors import UserError

#: Endings of files whose lines are JSON; a line of any other file is a prompt as it stands.
JSON_LINES = (".jsonl", ".ndjson")
FIELDS = ("prompt", "id", "target")
EXAMPLE = '{"prompt": "The capital of France is", "id": "france", "target": " Paris"}'


@dataclass(frozen=True)
class PromptLine:
    """A prompt, its text or its token ids, and where it stands in its file (counted from 1).

    id: a name for it; target: the token whose logit is explained, its text or "#ID". None: not given.
    """

    line: int
    prompt: str | tuple[int, ...]
    id: str | None = None
    target: str | None = None


def read_prompts(path: str | Path) -> tuple[PromptLine, ...]:
    """The prompts of a UTF-8 file: JSON objects with the fields "prompt" (a text, or a list of token ids) and, if they
    like, "id" and "target" where its name ends in .jsonl or .ndjson; otherwise the lines themselves. Empty lines count
    for nothing, and a line that repeats an earlier one as a whole is left out.

    Raises UserError, with the number of the line, for whatever cannot be read, and where an id comes twice.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: the prompts cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: the prompts are not UTF-8 ({error.reason} at byte {error.start})") from None
    as_json = Path(path).suffix.lower() in JSON_LINES
    lines = []
    for number, raw in enumerate(text.split("\n"), 1):  # splitlines would also cut at characters inside of a prompt
        line = raw.removesuffix("\r")
        if line.strip():
            lines.append(_parsed(line, number, path) if as_json else PromptLine(number, line))
    if not lines:
        raise UserError(f"{path}: the file holds no prompt; write one per line, in a .jsonl as {EXAMPLE}")
    return _distinct(lines, path)


def _parsed(line: str, number: int, path: str | Path) -> PromptLine:
    where = f"{path}, line {number}"
    try:
        found: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise UserError(f"{where}: this is no JSON ({reason}); a line looks like {EXAMPLE}") from None
    if not isinstance(found, dict):
        raise UserError(f"{where}: this is no JSON object; a line looks like {EXAMPLE}")
    unknown = [name for name in found if name not in FIELDS]
    if unknown:
        raise UserError(f"{where}: there is no field {unknown[0]!r}; the fields are {', '.join(FIELDS)}")
    for name in ("id", "target"):
        value = found.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
            raise UserError(f"{where}: {name} is {json.dumps(value)}; it must be a text")
        _require_text(value, name, where)
    own, target = found.get("id"), found.get("target")
    return PromptLine(
        number,
        _prompt(found.get("prompt"), where),
        None if own is None else str(own),
        # a number is a token's
        f"#{target}" if isinstance(target, int) else target,
    )


def _prompt(value: Any, where: str) -> str | tuple[int, ...]:
    if isinstance(value, str):
        if not value:
            raise UserError(f"{where}: the prompt is empty; give at least one character")
        _require_text(value, "prompt", where)
        return value
    if isinstance(value, list) and value and all(type(token) is int and token >= 0 for token in value):
        return tuple(value)
    given = "missing" if value is None else json.dumps(value)
    raise UserError(f"{where}: the prompt is {given}; it must be a text or a list of token ids")


def _require_text(value: Any, name: str, where: str) -> None:
    """JSON can write half of a character, a surrogate without the other one."""
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        raise UserError(f"{where}: the {name} holds half of a character (a lone surrogate), which is no text")


def _distinct(lines: list[PromptLine], path: str | Path) -> tuple[PromptLine, ...]:
    """Each prompt once; two that share an id must be the same."""
    named: dict[str, PromptLine] = {}
    found: dict[tuple[object, ...], PromptLine] = {}
    for line in lines:
        same = named.setdefault(line.id, line) if line.id is not None else line
        if (same.prompt, same.target) != (line.prompt, line.target):
            raise UserError(f"{path}, line {line.line}: the id {line.id!r} is that of line {same.line}; give another")
        found.setdefault((line.id, line.prompt, line.target), line)
    return tuple(found.values())
