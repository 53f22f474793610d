"""Imports point one way: a layer knows those below it and nothing above."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ggufjac"
#: From the bottom up. The bridge to llama.cpp and the registry stand beside the reader's users.
LAYERS = (
    "reader",
    "registry",
    "llamacpp",
    "quants",
    "operators",
    "families",
    "maps",
    "analyses",
    "batch",
    "plots",
    "reports",
    "cli",
)


def imported(path: Path) -> set[str]:
    """The layers that a file imports from, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "ggufjac" and len(parts) > 1 and parts[1] in LAYERS:
                found.add(parts[1])
    return found


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_nothing_above_it(layer: str) -> None:
    files = sorted((PACKAGE / layer).rglob("*.py"))
    assert files
    above = set(LAYERS[LAYERS.index(layer) + 1 :])
    for path in files:
        assert not imported(path) & above, f"{path.name} imports from above"
