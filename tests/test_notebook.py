"""The example notebook runs, and says what it said when it was last run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from conftest import PATIENCE

nbformat: Any = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient: Any = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")

NOTEBOOK = Path(__file__).parent.parent / "examples" / "tour.ipynb"
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def said(cell: Any) -> str:
    """What a cell printed."""
    return "".join(o["text"] for o in cell.outputs if o["output_type"] == "stream" and o["name"] == "stdout")


def shown(cell: Any) -> list[str]:
    """The values that the tables of a cell's result are sorted by."""
    html = "".join(o["data"].get("text/html", "") for o in cell.outputs if "data" in o)
    return re.findall(r' data-v="([^"]*)"', html)


def numbers(texts: list[str]) -> list[float]:
    return [float(text) for text in texts]


def test_the_tour_says_again_what_it_says(smollm2_path: Path, tmp_path: Path) -> None:
    before = nbformat.read(NOTEBOOK, as_version=4)
    now = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(now, timeout=PATIENCE, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = 0
    for was, is_now in zip(before.cells, now.cells, strict=True):
        if was.cell_type != "code":
            continue
        old, new = said(was), said(is_now)
        assert NUMBER.sub("#", old) == NUMBER.sub("#", new)
        # what the map misses is rounding alone, another one on every machine
        assert numbers(NUMBER.findall(new)) == pytest.approx(numbers(NUMBER.findall(old)), rel=5e-3, abs=1e-6)
        assert numbers(shown(is_now)) == pytest.approx(numbers(shown(was)), rel=2e-2, abs=5e-3, nan_ok=True)
        kinds = [[sorted(o["data"]) for o in cell.outputs if "data" in o] for cell in (was, is_now)]
        assert kinds[0] == kinds[1]
        pictures += sum("image/png" in kind for kind in kinds[1])
    assert pictures == 1


def test_the_tour_holds_its_outputs() -> None:
    """Those who only read it see results, and the claims that it makes are in them."""
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    assert sum(bool(shown(cell)) for cell in cells) == 2
    texts = {i: said(cell) for i, cell in enumerate(cells)}
    missed = next(text for text in texts.values() if text.startswith("missed"))
    assert float(NUMBER.findall(missed)[0]) < 1e-13
    together, logit = next(NUMBER.findall(text)[-2:] for text in texts.values() if "add up to" in text)
    assert float(together) == pytest.approx(float(logit), abs=2e-4)
    *terms, total = next(NUMBER.findall(text) for text in texts.values() if text.rstrip().splitlines()[-1:] != []
                         and text.rstrip().splitlines()[-1].lstrip().startswith("sum"))  # fmt: skip
    assert sum(map(float, terms)) == pytest.approx(float(total), abs=5e-4)
