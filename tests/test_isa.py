"""The instruction set by the environment: another one's results are the same to rounding, a wrong one is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ggufjac
from ggufjac import _native
from ggufjac.cli.main import run
from ggufjac.quants import native
from ggufjac.reader import GGMLType

RUNNABLE = _native.info()["runnable"]
PROMPT = [1, 300, 17, 42]


@pytest.mark.parametrize("isa", RUNNABLE)
def test_the_environment_chooses(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call says which one it wants, so one process may change its mind."""
    asked: list[object] = []

    def watched(kernel: Any) -> Any:
        return lambda *given, **named: asked.append(named.get("isa", given[-1])) or kernel(*given, **named)

    for name in ("dequantize", "matmul", "matmul_adjoint"):
        monkeypatch.setattr(_native, name, watched(getattr(_native, name)))
    monkeypatch.setenv("GGUFJAC_ISA", isa)
    data = np.zeros((3, 34), np.uint8)
    native.dequantize(GGMLType.Q8_0, data)
    native.matmul(GGMLType.Q8_0, data, np.ones((2, 32)))
    native.matmul_adjoint(GGMLType.Q8_0, data, np.ones((2, 3)))
    assert asked == [isa] * 3


@pytest.mark.parametrize("environment", [None, ""])
def test_without_it_the_best_is_taken(environment: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if environment is None:
        monkeypatch.delenv("GGUFJAC_ISA", raising=False)
    else:
        monkeypatch.setenv("GGUFJAC_ISA", environment)
    assert native.isa() == _native.info()["isa"] == RUNNABLE[0]


@pytest.mark.parametrize("isa", RUNNABLE)
def test_results_are_the_same_to_rounding(isa: str, tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights have the same bits; float64 sums of a few hundred products, in another order, differ by 1e-14 or so."""

    def found(chosen: str) -> tuple[torch.Tensor, torch.Tensor]:
        monkeypatch.setenv("GGUFJAC_ISA", chosen)
        with ggufjac.open(tiny_path) as model:
            linear = model.linearize(PROMPT, torch.float64)
            return linear.logits, linear.rmatmat(linear.output[None])

    for one, other in zip(found(isa), found("portable"), strict=True):
        assert (one - other).norm() < 1e-12 * other.norm()


def test_a_name_that_cannot_be_is_refused_in_one_line(
    tiny_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GGUFJAC_ISA", "mmx")
    says = f"GGUFJAC_ISA is 'mmx', but this build has no such instruction set; what works here: {', '.join(RUNNABLE)}"
    assert run(["analyze", str(tiny_path), "The"]) == 2
    shown = capsys.readouterr()
    assert shown.err == f"ggufjac: {says}\n"
    assert shown.out == ""
    with pytest.raises(ggufjac.UserError) as refused, ggufjac.open(tiny_path) as model:
        model.linearize(PROMPT)
    assert str(refused.value) == says


def test_a_batch_is_refused_as_a_whole(tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GGUFJAC_ISA", "mmx")
    (tmp_path / "prompts.txt").write_text("The")
    assert run(["run", str(tmp_path / "prompts.txt"), str(tiny_path), "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_one_that_the_processor_cannot_run_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {**_native.info(), "compiled": [*_native.info()["compiled"], "vax"]}
    monkeypatch.setattr(_native, "info", lambda: known)
    monkeypatch.setenv("GGUFJAC_ISA", "vax")
    with pytest.raises(ggufjac.UserError, match="'vax', but this processor cannot run it; what works"):
        native.isa()
