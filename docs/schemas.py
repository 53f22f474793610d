"""Write docs/json.md and docs/schemas/KIND.json from the results' own classes: their type hints and docstrings.

    python docs/schemas.py            # writes the files
    python docs/schemas.py --check    # exit status 1 where one of them is not what would be written

A class says what its fields mean in its docstring, in prose: "name: meaning; name, name: meaning. A sentence." The
meaning ends at the next such name, or where a sentence begins. What is not said so stands above the table as it is.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
import types
import typing
from collections import Counter
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ggufjac.analyses.common.records import ARRAYS
from ggufjac.analyses.common.result import MapResult, PromptResult, Result
from ggufjac.analyses.inspect import Inspection
from ggufjac.analyses.judge.verify import Verification
from ggufjac.analyses.table import TABLE

FOLDER = Path(__file__).parent
DIALECT = "https://json-schema.org/draft/2020-12/schema"
PLAIN = {str: "string", int: "integer", bool: "boolean"}
HEAD = "| field | type | meaning |\n|---|---|---|\n"
#: Commands that are not called like the function.
COMMANDS = {
    "explain": "verify --explain",
    "compare_tensors": "compare --by",
    "steer_pairs": "steer --positive --negative",
    "steer_words": "steer --say",
    "lens_vectors": "lens vectors",
    "lens_swap": "lens swap",
    "lens_compare": "lens compare",
}
#: What every result has, from the plainest to the richest.
LEVELS = (Result, PromptResult, MapResult)

INTRODUCTION = """\
# The JSON of every result

<!-- written by docs/schemas.py from the classes in ggufjac/analyses; change them and run it again -->

`--json FILE` of any analysis writes one object (`-`: to standard output). `--save FILE` keeps the same object in the
metadata of a safetensors file under `ggufjac.result`, beside [the arrays](arrays.md). From Python it is
`result.to_dict()` and `result.to_json()`.

`schema` names the kind of the result and the number of its form (`ggufjac.analysis/1`). A change that could break a
reader raises the number; new fields may come without that. For every kind there is a JSON Schema
(draft 2020-12): [analysis](schemas/analysis.json) and the others beside it.

A *number* that is not finite is `null`. *X or null* is `null` where there is nothing to say. Logits are in logits,
divergences and ln p in nats, times in seconds. Layers, positions and entries count from 0; ranks from 1. What the words
mean: [glossary](glossary.md).
"""


def rendered() -> dict[Path, str]:
    """The files and what they should hold."""
    files = {FOLDER / "json.md": page()}
    for entry in TABLE:
        text = json.dumps(json_schema(entry.result_class), ensure_ascii=False, indent=1)
        files[FOLDER / "schemas" / f"{entry.kind}.json"] = text + "\n"
    return files


# --- JSON Schema ------------------------------------------------------------------------------------------------


def json_schema(kind: type[Result]) -> dict[str, Any]:
    """The JSON Schema of a kind of result."""
    records: dict[str, Any] = {}
    properties = {
        "schema": {"const": kind.schema()},
        "version": {"type": "string", "description": "of ggufjac"},
        **_properties(kind, records, without=("version",)),
    }
    return {
        "$schema": DIALECT,
        "$id": kind.schema(),
        "title": kind.__name__,
        "description": _lead(kind),
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "$defs": dict(sorted(records.items())),
    }


def _properties(kind: type[Any], records: dict[str, Any], without: tuple[str, ...] = ()) -> dict[str, Any]:
    said = meanings(kind)
    found = {}
    for name, hint in plain_fields(kind).items():
        if name not in without:
            about = {"description": said[name]} if name in said else {}
            found[name] = {**_of_hint(hint, records), **about}
    return found


def _of_hint(hint: Any, records: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        found = _of_hint(inner, records)
        if isinstance(found.get("type"), str):
            return {**found, "type": [found["type"], "null"]}
        return found if found.get("type") == ["number", "null"] else {"anyOf": [found, {"type": "null"}]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        return {"type": "array", "items": _of_hint(arguments[0], records)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _of_hint(arguments[1], records)}
    if dataclasses.is_dataclass(hint):
        record = typing.cast("type[Any]", hint)
        _define(record, records)
        return {"$ref": f"#/$defs/{record.__name__}"}
    return {"type": ["number", "null"]} if hint is float else {"type": PLAIN[hint]}


def _define(kind: type[Any], records: dict[str, Any]) -> None:
    if kind.__name__ in records:
        return
    records[kind.__name__] = {}  # so that one that holds itself ends
    properties = _properties(kind, records)
    about = {"description": _lead(kind)} if _lead(kind) else {}
    records[kind.__name__] = {**about, "type": "object", "properties": properties, "required": list(properties)}


# --- the page ---------------------------------------------------------------------------------------------------


def page() -> str:
    """docs/json.md."""
    used = Counter(name for entry in TABLE for name in {record.__name__ for record in _records(entry.result_class)})
    parts = [INTRODUCTION, "## What every result has\n"]
    parts += [_level(level) for level in LEVELS]
    for entry in TABLE:
        kind = entry.result_class
        base = next(level for level in LEVELS[::-1] if issubclass(kind, level))
        own = [name for name in plain_fields(kind) if name not in plain_fields(base)]
        more = "" if base is Result else f", and [those of {_called(base)}](#what-every-result-has)"
        parts.append(f"## {entry.kind}\n")
        command = COMMANDS.get(entry.command, entry.command)
        where = f"`{kind.schema()}`, of `ggufjac {command}`: [its JSON Schema](schemas/{entry.kind}.json)"
        parts.append(f"{where}. Its own fields{more}:\n\n{_described(kind, own)}")
        parts += [_section(record) for record in _records(kind) if used[record.__name__] == 1]
    parts.append("## Records that several results have\n")
    shared = {record.__name__: record for entry in TABLE for record in _records(entry.result_class)}
    parts += [_section(record) for name, record in sorted(shared.items()) if used[name] > 1]
    parts.append("## Without a schema\n")
    parts.append(
        "`ggufjac verify --json` writes `schema` (`ggufjac.verify/1`), `agrees`, and `results`, a list of "
        "[Verification](#verification); with `--explain` also `explanations`. `ggufjac inspect --json` writes one "
        "[Inspection](#inspection).\n"
    )
    seen = set(shared)
    for told in (Verification, Inspection):
        fresh = [record for record in (told, *_records(told)) if record.__name__ not in seen]
        parts += [_section(record) for record in fresh]
        seen |= {record.__name__ for record in fresh}
    return "\n".join(parts)


def _called(level: type[Result]) -> str:
    return {PromptResult: "a prompt's result", MapResult: "a map's result"}[level]


def _level(level: type[Result]) -> str:
    if level is Result:
        return f"{HEAD}| `schema` | string | kind and number |\n| `version` | string | of ggufjac |\n"
    below = LEVELS[LEVELS.index(level) - 1]
    own = [name for name in plain_fields(level) if name not in plain_fields(below)]
    return f"**{_called(level).capitalize()}** has besides:\n\n{_fields(level, own)}"


def _section(record: type[Any]) -> str:
    return f"### {record.__name__}\n\n{_described(record, list(plain_fields(record)))}"


def _described(kind: type[Any], names: list[str]) -> str:
    lead = _lead(kind)
    return (f"{_escaped(lead)}\n\n" if lead else "") + _fields(kind, names)


def _fields(kind: type[Any], names: list[str]) -> str:
    said, hints = meanings(kind), plain_fields(kind)
    rows = [f"| `{name}` | {_type(hints[name])} | {_escaped(said.get(name, ''))} |" for name in names]
    return HEAD + "\n".join(rows) + "\n"


def _type(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(argument) for argument in arguments if argument is not type(None)) + " or null"
    if origin is Literal:
        return ", ".join(f"`{json.dumps(value)}`" for value in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"object of {_type(arguments[1])}"
    if dataclasses.is_dataclass(hint):
        name = hint.__name__  # type: ignore[union-attr]
        return f"[{name}](#{name.lower()})"
    return "number" if hint is float else PLAIN[hint]


def _escaped(text: str) -> str:
    return re.sub(r"([|<>*])", r"\\\1", text)


# --- classes ----------------------------------------------------------------------------------------------------


def plain_fields(kind: type[Any]) -> dict[str, Any]:
    """The fields that JSON has, with their types."""
    hints = get_type_hints(kind)
    return {item.name: hints[item.name] for item in dataclasses.fields(kind) if not item.metadata.get(ARRAYS)}


def _records(kind: type[Any]) -> list[type[Any]]:
    """The dataclasses inside a dataclass, each once, in the order in which they are met."""
    found: dict[type[Any], None] = {}

    def look(hint: Any) -> None:
        if dataclasses.is_dataclass(hint) and isinstance(hint, type) and hint not in found:
            found[hint] = None
            for inner in plain_fields(hint).values():
                look(inner)
        for argument in get_args(hint):
            look(argument)

    for hint in plain_fields(kind).values():
        look(hint)
    return list(found)


def _prose(kind: type[Any]) -> str:
    """The docstring on one line, in JSON's words."""
    own = kind.__dict__.get("__doc__")
    if not own or own.startswith(f"{kind.__name__}("):  # what dataclass writes by itself
        return ""
    return re.sub(r"\b(None|NaN)\b", "null", " ".join(inspect.cleandoc(own).split()))


def _named(kind: type[Any], text: str) -> list[tuple[tuple[str, ...], int, int]]:
    """Where names of fields are followed by a colon: (names, where it begins, where the meaning begins)."""
    known = set(plain_fields(kind))
    found = []
    for match in re.finditer(r"(?:(?<=^)|(?<=[.;] ))([a-z_`]+(?:, [a-z_`]+)*): ", text):
        names = tuple(name.strip("`") for name in match[1].split(", "))
        if set(names) <= known:
            found.append((names, match.start(), match.end()))
    return found


def meanings(kind: type[Any]) -> dict[str, str]:
    """What a class and those above it say of their fields."""
    found: dict[str, str] = {}
    for level in kind.__mro__[::-1]:
        if not dataclasses.is_dataclass(level):
            continue
        text = _prose(level)
        named = _named(level, text)
        for i, (names, _, start) in enumerate(named):
            stop = named[i + 1][1] if i + 1 < len(named) else len(text)
            said = re.split(r"(?<=[a-z0-9)\]])\. (?=[A-Z])", text[start:stop])[0].rstrip(" .;")
            found.update(dict.fromkeys(names, said))
    return found


def _lead(kind: type[Any]) -> str:
    """What a class says besides the meaning of its fields."""
    text = _prose(kind)
    named = _named(kind, text)
    if not named:
        return text
    rest = [text[: named[0][1]]]
    for i, (_, _, start) in enumerate(named):
        stop = named[i + 1][1] if i + 1 < len(named) else len(text)
        rest += re.split(r"(?<=[a-z0-9)\]])\. (?=[A-Z])", text[start:stop])[1:]
    sentences = [part.strip(" ;") for part in rest if part.strip(" ;")]
    return " ".join(part if part.endswith(".") else f"{part}." for part in sentences)


def main() -> int:
    files = rendered()
    if "--check" in sys.argv[1:]:
        stale = [path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]
        for path in stale:
            print(f"{path}: run python docs/schemas.py", file=sys.stderr)
        return 1 if stale else 0
    for path, text in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
