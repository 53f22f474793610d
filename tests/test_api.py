"""The analyses from Python: short names, options by name, and the same results as by the long way."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ggufjac
from conftest import IDS
from ggufjac.analyses.analyze import Analysis
from ggufjac.analyses.attribute import attribute
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.options import AttributeOptions
from ggufjac.analyses.table import KINDS
from ggufjac.errors import UserError
from ggufjac.maps.model import Model

PROMPT = IDS[:5]


def test_importing_the_package_is_light() -> None:
    probe = (
        "import sys, ggufjac; print([m for m in ('torch', 'numpy', 'rich', 'matplotlib') if m in sys.modules]);"
        "ggufjac.layers; print('matplotlib' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "False False"]


def test_names_are_there_and_no_others() -> None:
    for name in ggufjac.__all__:
        assert getattr(ggufjac, name) is not None
        assert name in dir(ggufjac)
    with pytest.raises(AttributeError, match="nothing_like_it"):
        ggufjac.nothing_like_it  # noqa: B018


def test_the_page_about_python_tells_of_every_function() -> None:
    text = (Path(__file__).parent.parent / "docs" / "python.md").read_text(encoding="utf-8")
    classes = {"UserError", "Model", "DetachedMap", "Result", "Message", "Prompt"}
    for name in set(ggufjac.__all__) - {"__version__", "open", "load", *classes}:
        assert f"| `{name}(" in text
    assert all(f"ggufjac.{name}" in text for name in ("open", "load", "UserError"))


def test_short_and_long_give_the_same(tiny: Model) -> None:
    with torch.no_grad():
        long = attribute(tiny, PROMPT, AttributeOptions(target=(42, 300), against=7, top=2, dtype=torch.float64))
    short = ggufjac.attribute(tiny, PROMPT, target=(42, 300), against=7, top=2, dtype="float64")
    assert dataclasses.replace(short, seconds={}) == dataclasses.replace(long, seconds={})


def test_tokens_by_their_text_and_models_by_their_name(tiny: Model, tiny_path: Path) -> None:
    piece = tiny.detokenize([300])
    by_text = ggufjac.attribute(tiny_path, PROMPT, target=piece, top=1)
    by_number = ggufjac.attribute(tiny, PROMPT, target=[300], top=1)
    assert by_text.questions == by_number.questions
    assert by_text.questions[0].target.token.id == 300
    assert ggufjac.layers(tiny, PROMPT, target="#42", top=1).target.token.id == 42


def test_analyze_asks_llama_unless_told_not_to(tiny: Model) -> None:
    asked = ggufjac.analyze(tiny, PROMPT, top=1)
    assert isinstance(asked, Analysis)
    assert asked.agreement is not None
    assert asked.agreement.verdict == "MATCH"
    assert ggufjac.analyze(tiny, PROMPT, top=1, verify=False).agreement is None


@pytest.mark.parametrize("name", ["ablate", "ordinary", "extremes"])
def test_the_others(tiny: Model, name: str) -> None:
    result = getattr(ggufjac, name)(tiny, PROMPT)
    assert isinstance(result, Result)
    assert len(result.tokens) == len(PROMPT)  # type: ignore[attr-defined]


def test_several_sides_and_a_steered_text(tiny: Model, tiny_path: Path) -> None:
    sides = ggufjac.compare(tiny, [PROMPT, [*PROMPT, 9]], top=2, target="#42")
    assert len(sides.sides) == 2
    assert all(side.target is not None and side.target.token.id == 42 for side in sides.sides)
    assert len(ggufjac.compare([tiny, tiny_path], PROMPT, top=2).sides) == 2
    with pytest.raises(UserError, match="nothing to compare"):
        ggufjac.compare(tiny, PROMPT)
    with pytest.raises(UserError, match="no model"):
        ggufjac.compare([], PROMPT)
    steered = ggufjac.steer(tiny, PROMPT, IDS[5:8], layer=0, strengths=(1.0,), tokens=2, counted=["#42", 300])
    assert [piece.id for piece in steered.counts] == [42, 300]
    assert ggufjac.explain(tiny, PROMPT).n_tokens == len(PROMPT)


def test_mistakes_get_one_line(tiny: Model) -> None:
    with pytest.raises(UserError, match=r"no option 'tpo'; did you mean 'top'"):
        ggufjac.layers(tiny, PROMPT, tpo=3)
    with pytest.raises(UserError, match=r"there are .*memory.*top"):
        ggufjac.layers(tiny, PROMPT, nothing_like_it=3)
    with pytest.raises(UserError, match="float16"):
        ggufjac.layers(tiny, PROMPT, dtype="float16")
    with pytest.raises(UserError, match="target: there is no token"):
        ggufjac.layers(tiny, PROMPT, target="#999999")


def test_every_kind_keeps_itself_and_shows_itself(results: dict[str, Result], tmp_path: Path) -> None:
    assert results.keys() == KINDS.keys()
    for kind, result in results.items():
        path = tmp_path / f"{kind}.safetensors"
        result.save(path)
        again = ggufjac.load(path)
        assert again.to_json() == result.to_json()
        assert again.arrays.keys() == result.arrays.keys()
        assert result.to_dict()["schema"] == f"ggufjac.{kind}/{result.schema_version}"
        shown = result._repr_mimebundle_()
        assert "ggufjac" in shown["text/plain"]
        assert "\x1b" not in shown["text/plain"]
        assert max(map(len, shown["text/plain"].splitlines())) <= 100
        assert shown["text/html"].startswith('<div class="ggufjac cell">')
        assert result.page().startswith("<!doctype html>")
    assert [path.suffix for path in results["plan"].plot(tmp_path / "pictures")] == [".svg"]
    assert results["plan"].pictures()[0]._repr_png_().startswith(b"\x89PNG")
