"""The pages of docs/: what is generated is fresh, what is written by hand names what there is, links lead somewhere."""

from __future__ import annotations

import inspect
import json
import math
import re
import runpy
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import ggufjac
from ggufjac.analyses import options as records
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.table import KINDS, TABLE
from ggufjac.option import flag_of, options_of
from ggufjac.reports.views import VIEWS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [*ROOT.glob("*.md"), *DOCS.glob("*.md")]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
every_kind = pytest.mark.parametrize("kind", sorted(KINDS))


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


# --- the JSON ---------------------------------------------------------------------------------------------------


def test_generated_files_are_fresh() -> None:
    files = runpy.run_path(str(DOCS / "schemas.py"))["rendered"]()
    for path, text in files.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python docs/schemas.py"
    assert {path.stem for path in (DOCS / "schemas").glob("*.json")} == set(KINDS)


def wrong(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str) -> list[str]:
    """Where a value is not what a schema says, for the words of JSON Schema that docs/schemas.py uses."""
    if "$ref" in schema:
        return wrong(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, at)
    if "anyOf" in schema:
        tried = [wrong(value, one, root, at) for one in schema["anyOf"]]
        return [] if not all(tried) else tried[0]
    if "const" in schema or "enum" in schema:
        return [] if value in schema.get("enum", [schema.get("const")]) else [f"{at}: {value!r}"]
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    of = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    kind = of.get(type(value)) or ("object" if isinstance(value, dict) else "array")
    if kind not in kinds:
        return [f"{at}: {value!r} is no {' or '.join(kinds)}"]
    if kind == "array":
        return [bad for i, item in enumerate(value) for bad in wrong(item, schema["items"], root, f"{at}[{i}]")]
    if kind != "object":
        return []
    if "properties" not in schema:
        inner = schema["additionalProperties"]
        return [bad for name, item in value.items() for bad in wrong(item, inner, root, f"{at}.{name}")]
    known = schema["properties"]
    if set(value) != set(known) or set(schema["required"]) != set(known):
        return [f"{at}: {sorted(set(value) ^ set(known))}"]
    return [bad for name, item in value.items() for bad in wrong(item, known[name], root, f"{at}.{name}")]


def schema_of(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCS / "schemas" / f"{kind}.json").read_text(encoding="utf-8"))
    return found


@every_kind
def test_every_result_is_what_its_schema_says(kind: str, results: dict[str, Result]) -> None:
    schema, plain = schema_of(kind), json.loads(results[kind].to_json())
    assert not wrong(plain, schema, schema, kind)


def test_the_check_of_schemas_sees_mistakes(results: dict[str, Result]) -> None:
    schema, plain = schema_of("analysis"), json.loads(results["analysis"].to_json())
    for name, value in (("prompt", 3), ("tokens", {}), ("schema", "ggufjac.layers/2"), ("ordinary", "x"), ("new", 1)):
        assert wrong({**plain, name: value}, schema, schema, "")
    assert wrong({**plain, "target": {**plain["target"], "rank": 1.5}}, schema, schema, "")
    assert not wrong({**plain, "reconstruction": None}, schema, schema, "")  # what is not finite
    assert math.isfinite(plain["reconstruction"])


@every_kind
def test_arrays_are_listed(kind: str, results: dict[str, Result]) -> None:
    """Exactly those of the result, but what comes with an option alone; sides and texts are listed by their first."""
    section = text_of("arrays.md").split(f"\n## {kind}\n", 1)[1].split("\n## ", 1)[0]
    listed = {
        name for row in re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)
    }
    made = set(results[kind].arrays)
    if kind == "comparison":
        made = {name for name in made if name.startswith("0.")}
    assert listed - {"control"} == made


# --- options ----------------------------------------------------------------------------------------------------


def test_every_option_is_in_the_table() -> None:
    """Of each record in docs/python.md, its own beside those of all."""
    page = text_of("python.md")
    named = {name for entry in TABLE if entry.options for name in (entry.options, "AnalysisOptions", "MapOptions")}
    for name in named - {"ExplainOptions"} | {"SamplingOptions"}:
        record = getattr(records, name)
        row = re.search(rf"^\| `{name}` \| [^|]* \| (.*) \|$", page, re.MULTILINE)
        assert row is not None, name
        own = {item.name for item in fields(record) if item.name in record.__annotations__}
        assert set(re.findall(r"`(\w+)`", row[1])) == own & {item.name for item in options_of(record)}, name


def signature(function: Callable[..., Any]) -> str:
    """As an editor shows it, a parameter a line."""
    lines, starred = [], False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            lines, starred = [*lines, "    *,"], True
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        lines.append(f"    {parameter.name}: {parameter.annotation}{default},")
    return "\n".join([f"{function.__name__}(", *lines, ")"]).replace("'", '"')


def test_signatures_are_those_of_the_functions() -> None:
    shown = re.search(r"<!-- signatures -->\n```python\n(.*?)\n```", text_of("python.md"), re.DOTALL)
    assert shown is not None
    assert shown[1] == "\n\n".join(map(signature, (ggufjac.attribute, ggufjac.layers)))


def test_options_have_help() -> None:
    for entry in TABLE:
        if entry.options:
            assert all(len(flag_of(item).help) > 5 for item in options_of(entry.options_class))


# --- words ------------------------------------------------------------------------------------------------------


def legend(result: Result) -> set[str]:
    """The words that the foot of a report explains: what stands before a colon."""
    report: Any = VIEWS.terminal(result)
    lines = [line for part in report.draw(1000) for line in getattr(part, "lines", ())]
    named = [match[1] for line in lines for match in re.finditer(r"(?:^|[;.] )([^:;.]{1,30}):(?= )", line)]
    return {word.strip() for words in named for word in re.split(r",| and ", words)}


def glossary() -> set[str]:
    """The words in bold, or in code, of the glossary."""
    return {
        word.lower() for word in re.findall(r"\*\*(.+?)\*\*|`(.+?)`", text_of("glossary.md")) for word in word if word
    }


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"plan"}))
def test_the_glossary_has_the_words_of_the_legends(kind: str, results: dict[str, Result]) -> None:
    missing = {word for word in legend(results[kind]) if word.lower() not in glossary()}
    assert not missing, f"docs/glossary.md lacks {sorted(missing)}"


# --- pages ------------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The places in a page that a link can lead to, as GitHub names them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    named = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    return named | set(re.findall(r'<a id="([^"]+)">', text))


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        assert place.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(place), f"{page.name}: {target}"


@every_page
def test_files_that_are_shown_are_those_of_the_repository(page: Path) -> None:
    shown = re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)\n```", page.read_text(encoding="utf-8"), re.DOTALL)
    for name, text in shown:
        assert text in (ROOT / name).read_text(encoding="utf-8"), f"{page.name}: {name} has changed"


@every_page
def test_files_that_are_named_exist(page: Path) -> None:
    """Paths of this repository in a page's text, from its root, the package or the folder of the tests."""
    text = page.read_text(encoding="utf-8")
    for name in set(re.findall(r"`([\w./]+/[\w.]+\.(?:py|md|toml|hpp|cpp|txt))[`:]", text)):
        if name.startswith("src/") or re.search("NAME|KIND", name):  # llama.cpp's; whatever it is called
            continue
        assert any((ROOT / room / name).exists() for room in ("", "ggufjac", "tests", "docs")), f"{page.name}: {name}"
