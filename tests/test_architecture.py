"""The house: imports point one way, those by string too; a name stands for one thing; every result has its views."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from ggufjac.analyses.table import KINDS, TABLE

PACKAGE = Path(__file__).parent.parent / "ggufjac"
#: The rooms from the bottom up. The bridge to llama.cpp and the registry stand beside the reader's users.
ROOMS = (
    "chat",
    "reader",
    "registry",
    "llamacpp",
    "quants",
    "operators",
    "families",
    "network",
    "maps",
    "analyses",
    "batch",
    "reports",
    "cli",
)
#: Files outside of the rooms that every room may use, and those that stand above all rooms.
GROUND = ("errors", "readable", "atomic", "version", "option", "parse", "rules")
ROOF = ("api",)
#: A module of this package in a string, at its beginning.
MODULE = re.compile(r"ggufjac\.([a-z_]+)(?:[.:]|$)")
#: Files in one folder, without its __init__; `cli` has a file for every command, `families` one for every architecture,
#: `families/parts` one for every kind of part, and `reports/terminal` and `reports/plots` one for every kind of result.
MOST, LISTS = 16, {"cli", "families", "families/parts", "operators", "reports/terminal", "reports/plots"}
#: Parts and operators are the same algebra: a part of a name makes the operator of that name.
ALGEBRA = {"Sequential", "Residual", "Parallel", "Pick", "Scale", "Bias", "Slice", "Inside"}


def files(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py"))


def texts(tree: ast.Module) -> Iterator[str]:
    """The strings of a file but its docstrings."""
    documented = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
            yield node.value


def named(path: Path) -> set[str]:
    """The rooms and the files beside them that a file imports from, also inside functions and by string."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    found = {match[1] for name in [*names, *texts(tree)] if (match := MODULE.match(name))}
    return found & {*ROOMS, *GROUND, *ROOF}


def test_every_file_is_in_a_room() -> None:
    beside = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert beside == {*GROUND, *ROOF}
    assert {path.name for path in PACKAGE.iterdir() if any(path.glob("*.py"))} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_knows_nothing_above_it(room: str) -> None:
    assert files(room)
    above = {*ROOMS[ROOMS.index(room) + 1 :], *ROOF}
    for path in files(room):
        assert not named(path) & above, f"{path.relative_to(PACKAGE)} imports from above"


@pytest.mark.parametrize("name", GROUND)
def test_what_all_rooms_use_knows_none_of_them(name: str) -> None:
    assert not named(PACKAGE / f"{name}.py") & {*ROOMS, *ROOF}


def test_imports_by_string_are_seen(tmp_path: Path) -> None:
    source = tmp_path / "x.py"
    source.write_text('import importlib\ndef f(kind):\n    return importlib.import_module(f"ggufjac.reports.{kind}")\n')
    assert named(source) == {"reports"}


def module_of(path: Path) -> str:
    return ".".join(("ggufjac", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def handed_on(path: Path) -> dict[str, str]:
    """Of a package's face, which only hands names on: where each of them comes from. Empty for other files."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    if path.stem != "__init__" or any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in body):
        return {}
    found = [node for node in body if isinstance(node, ast.ImportFrom) and node.module]
    return {alias.asname or alias.name: str(node.module) for node in found for alias in node.names}


def test_no_circle_of_files() -> None:
    """Nor within a room: files can be put in an order in which each imports earlier ones alone."""
    paths = {module_of(path): path for path in PACKAGE.rglob("*.py")}
    faces = {name: handed_on(path) for name, path in paths.items()}
    graph: dict[str, set[str]] = {}
    for name, path in paths.items():
        graph[name] = set()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.module in paths:
                for alias in node.names:
                    inside = f"{node.module}.{alias.name}"
                    graph[name].add(inside if inside in paths else faces[node.module].get(alias.name, node.module))
    done: set[str] = set()
    while len(done) < len(graph):
        ready = {name for name in graph.keys() - done if not graph[name] - done - {name}}
        assert ready, f"a circle among {sorted(graph.keys() - done)}"
        done |= ready


def test_a_room_fits_into_view() -> None:
    for folder in {path.parent for path in PACKAGE.rglob("*.py")} - {PACKAGE}:
        inside = [path for path in folder.glob("*.py") if path.stem != "__init__"]
        if str(folder.relative_to(PACKAGE)) not in LISTS:
            assert len(inside) <= MOST, f"{folder} has {len(inside)} files"


def test_a_class_has_a_name_of_its_own() -> None:
    homes = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(str(path.relative_to(PACKAGE)))
    twice = {name: where for name, where in homes.items() if len(where) > 1 and name not in ALGEBRA}
    assert not twice
    for name in ALGEBRA:
        assert sorted(place.split("/")[0] for place in homes[name]) == ["families", "operators"]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_has_all_views(kind: str) -> None:
    """A page is made of the terminal's report, so a module of its own is for what it shows besides."""
    for view in ("terminal", "plots"):
        assert find_spec(f"ggufjac.reports.{view}.{KINDS[kind].result_class.view_name()}") is not None


def test_the_table_of_analyses_is_true() -> None:
    for entry in TABLE:
        assert entry.result_class.kind == entry.kind
        assert callable(entry.function)
        assert not entry.options or entry.options_class.__name__ == entry.options
