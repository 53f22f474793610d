"""Lenses from Python and from the command line, on a small model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import ggufjac
from conftest import IDS
from ggufjac.cli.main import run
from ggufjac.errors import UserError
from ggufjac.maps.model import Model

DOCUMENTS = [[(i * 7) % 300 + 3 for i in range(60)], [(i * 11) % 300 + 3 for i in range(40)]]


def test_a_lens_is_fitted_kept_and_read(tiny: Model, tmp_path: Path) -> None:
    path = tmp_path / "lens.pt"
    fitted = ggufjac.fit_lens(tiny, DOCUMENTS, path, length=20, skip=4, prompts=3)
    again = ggufjac.load_lens(path)
    assert again.n_prompts == fitted.n_prompts == 3
    assert torch.allclose(again.jacobian(0), fitted.jacobian(0), rtol=2e-3, atol=1e-5)
    more = ggufjac.fit_lens(tiny, DOCUMENTS, path, length=20, skip=4, prompts=4)  # goes on
    assert more.n_prompts == 4
    whole = ggufjac.fit_lens(tiny, DOCUMENTS, length=20, skip=4, prompts=4)
    assert torch.allclose(more.jacobian(0), whole.jacobian(0), rtol=1e-2, atol=1e-4)
    found = ggufjac.read_lens(tiny, IDS, [whole, path, "logit"], positions=2)
    assert [grid.name for grid in found.grids] == ["fitted", str(path), "logit"]
    assert found.grids[1].agreement == 1.0
    with pytest.raises(UserError, match="prompt"):
        ggufjac.fit_lens(tiny, DOCUMENTS, promts=3)


def test_commands_fit_merge_and_read(tiny: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, first, second = str(tiny.file.path), tmp_path / "a.pt", tmp_path / "b.safetensors"
    settings = ["--length", "16", "--skip", "4", "--prompts", "2"]
    assert run(["lens", "fit", model, *settings, "--out", str(first)]) == 0
    assert run(["lens", "fit", model, *settings, "--seed", "9", "--out", str(second)]) == 0
    assert "ggufjac lens read" in capsys.readouterr().out
    whole, out = tmp_path / "whole.pt", tmp_path / "read.json"
    assert run(["lens", "merge", str(first), str(second), "--out", str(whole)]) == 0
    assert ggufjac.load_lens(whole).n_prompts == 4
    prompt = "the bridge over the"
    assert run(["lens", "read", model, prompt, "--lens", str(whole), "--lens", "own", "--json", str(out)]) == 0
    grids = json.loads(out.read_text())["grids"]
    assert [len(grid["rows"]) for grid in grids] == [2, 2]
    assert run(["lens", "fit", model, *settings[:2], "--skip", "5", "--out", str(first)]) == 2
    assert "a lens with another skip (4; asked for is 5)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["fit", "MODEL"], "--out"),
        (["fit", "MODEL", "--corpus", "nowhere", "--out", "x.pt"], "nowhere: the texts cannot be read"),
        (["fit", "MODEL", "--length", "10", "--skip", "9", "--out", "x.pt"], "texts of 10 tokens have no position"),
        (["read", "MODEL", "the", "--lens", "nowhere.pt"], "nowhere.pt"),
        (["merge", "a.pt", "--out", "x.pt"], "two lenses or more"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], told: str, tiny: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["lens", *(str(tiny.file.path) if word == "MODEL" else word for word in arguments)]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1
