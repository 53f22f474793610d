"""Files of prompts, as people have them: plain lines, JSON lines, a JSON array, a table as CSV or TSV."""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ggufjac import parse
from ggufjac.chat.messages import messages_of
from ggufjac.chat.prompt import Message
from ggufjac.errors import UserError

#: Endings of files whose lines are JSON, that are one JSON array, and that are tables; any other file's lines are
#: prompts as they stand.
JSON_LINES, JSON_ARRAY, TABLES = (".jsonl", ".ndjson"), (".json",), (".csv", ".tsv")
#: What a prompt is called where nothing is said, and what may stand beside it.
COLUMNS, BESIDE = ("prompt", "messages", "text", "question"), ("id", "target", "answer")
#: How near to the name of a prompt another must be to be taken for a slip.
NEAR = 0.75
EXAMPLE = '{"prompt": "The capital of France is", "id": "france", "target": " Paris"}'


@dataclass(frozen=True)
class PromptLine:
    """A prompt, its text or its token ids, and where it stands in its file (counted from 1).

    messages: those of a chat; the prompt is then empty, and a model's template makes it. id: a name for it; target: the
    token whose logit is explained, its text or "#ID"; answer: what the model is to say, for analyses of whole answers.
    None: not given. extra: the other fields of its line, a JSON object ("": there are none), which change no result.
    """

    line: int
    prompt: str | tuple[int, ...]
    id: str | None = None
    target: str | None = None
    messages: tuple[Message, ...] = ()
    answer: str | None = None
    extra: str = ""

    @property
    def identity(self) -> tuple[object, ...]:
        """All that a result depends on, but the id."""
        return self.prompt, self.target, self.messages, self.answer


def read_prompts(path: str | Path, column: str | None = None) -> tuple[PromptLine, ...]:
    """The prompts of a UTF-8 file.

    .jsonl, .ndjson: a JSON object in every line; .json: an array of such objects, or of texts; .csv, .tsv: a table
    whose first line names its columns; any other file: the lines themselves. column: the field or column that holds the
    prompt, a text, a list of token ids, or a chat as a list of {"role", "content"} (None: `COLUMNS`, or the only one).
    Beside it "id", "target" and "answer" mean what `PromptLine` says; all others are extra. Empty lines count for
    nothing, and a line that repeats an earlier one in all but extra fields is left out.

    Raises UserError, with the number of the line, for whatever cannot be read, and where an id comes twice.
    """
    try:
        text = parse.text(Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"{path}: the prompts cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise UserError(f"{path}: the prompts cannot be read ({error})") from None
    ending = Path(path).suffix.lower()
    if ending in (*JSON_LINES, *JSON_ARRAY, *TABLES):
        read = _json_lines if ending in JSON_LINES else _array if ending in JSON_ARRAY else _table
        lines = [_parsed(found, number, where, column) for number, where, found in read(text, str(path))]
    elif column is not None:
        raise UserError(f"{path}: lines of text have no columns; --column goes with .csv, .tsv, .json and .jsonl")
    else:
        lines = [PromptLine(number, line) for number, line in _lines(text)]
    if not lines:
        raise UserError(f"{path}: the file holds no prompt; write one per line, in a .jsonl as {EXAMPLE}")
    return _distinct(lines, path)


# --- what a file is made of: numbers, places for errors, and what stands there -------------------------------------


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, raw in enumerate(text.split("\n"), 1):  # splitlines would also cut at characters inside of a prompt
        line = raw.removesuffix("\r")
        if line.strip():
            yield number, line


def _json_lines(text: str, path: str) -> Iterator[tuple[int, str, Any]]:
    for number, line in _lines(text):
        where = f"{path}, line {number}"
        found = _json(line, where)
        if not isinstance(found, dict):
            raise UserError(f"{where}: this is no JSON object; a line looks like {EXAMPLE}")
        yield number, where, found


def _array(text: str, path: str) -> Iterator[tuple[int, str, Any]]:
    found = _json(text, path) if text.strip() else []
    if not isinstance(found, list):
        raise UserError(f"{path}: this is no JSON array; it looks like [{EXAMPLE}, ...]")
    for number, item in enumerate(found, 1):
        yield number, f"{path}, item {number}", item if isinstance(item, dict) else {COLUMNS[0]: item}


def _table(text: str, path: str) -> Iterator[tuple[int, str, Any]]:
    head = text.partition("\n")[0]
    comma = "\t" if path.lower().endswith(".tsv") else ";" if ";" in head and "," not in head else ","
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=comma, strict=True)
    names: list[str] = []
    begun = 1
    try:
        for row in rows:
            where, number, begun = f"{path}, line {begun}", begun, rows.line_num + 1
            if not any(cell.strip() for cell in row):
                continue
            if not names:
                names = row
                twice = next((name for name in names if names.count(name) > 1), None)
                if twice is not None:
                    raise UserError(f"{path}: two columns are called {twice!r}")
                continue
            if len(row) > len(names):
                raise UserError(f"{where}: there are {len(row)} cells, and {len(names)} columns have a name")
            yield number, where, dict(zip(names, row, strict=False))
    except csv.Error as error:
        raise UserError(f"{path}, line {begun}: this is no row of a table ({error})") from None


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise UserError(f"{where}: this is no JSON ({reason}); a line looks like {EXAMPLE}") from None


# --- what a line says --------------------------------------------------------------------------------------------


def _parsed(found: Mapping[str, Any], number: int, where: str, column: str | None) -> PromptLine:
    name = _column(found, where, column)
    # an empty cell of a table says nothing
    own, target, answer = (None if field == name or found.get(field) == "" else found.get(field) for field in BESIDE)
    for field, value in zip(BESIDE, (own, target, answer), strict=True):
        if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
            raise UserError(f"{where}: {field} is {json.dumps(value)}; it must be a text")
        _require_text(value, field, where)
    prompt, messages = _prompt(found[name], name, where)
    extra = {key: value for key, value in found.items() if key not in (name, *BESIDE)}
    return PromptLine(
        number,
        prompt,
        None if own is None else str(own),
        # a number is a token's
        f"#{target}" if isinstance(target, int) else target,
        messages,
        None if answer is None else str(answer),
        json.dumps(extra, sort_keys=True) if extra else "",  # in ASCII, so that halves of characters are held as well
    )


def _column(found: Mapping[str, Any], where: str, column: str | None) -> str:
    """The name of the field that holds the prompt."""
    if column is not None:
        if column in found:
            return column
        raise UserError(f"{where}: there is no {column!r}; there are {', '.join(found) or 'no fields'}")
    named = next((name for name in COLUMNS if name in found), None)
    if named is not None:
        return named
    others = [name for name in found if name not in BESIDE]
    for name in others:
        near = difflib.get_close_matches(name.lower(), COLUMNS, 1, NEAR)
        if near:
            raise UserError(f"{where}: there is no field {name!r}; did you mean {near[0]!r}? (or --column {name!r})")
    if len(others) == 1:
        return others[0]
    told = f"; name the column with --column, of {', '.join(others)}" if others else f"; a line looks like {EXAMPLE}"
    raise UserError(f"{where}: the prompt is missing{told}")


def _prompt(value: Any, name: str, where: str) -> tuple[str | tuple[int, ...], tuple[Message, ...]]:
    """The prompt, or a chat's messages beside an empty one."""
    if name == "messages" and isinstance(value, str):  # a table's cell
        value = _json(value, f"{where}, {name}")
    if isinstance(value, str):
        if not value:
            raise UserError(f"{where}: the {name} is empty; give at least one character")
        _require_text(value, name, where)
        return value, ()
    if isinstance(value, list) and value and all(type(token) is int and token >= 0 for token in value):
        return tuple(value), ()
    if isinstance(value, list) and value and all(isinstance(message, dict) for message in value):
        return "", messages_of(value, where)
    raise UserError(
        f"{where}: the {name} is {json.dumps(value)}; it must be a text, a list of token ids, or a list of messages"
    )


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
        if same.identity != line.identity:
            raise UserError(f"{path}, line {line.line}: the id {line.id!r} is that of line {same.line}; give another")
        found.setdefault((line.id, line.identity), line)
    return tuple(found.values())
