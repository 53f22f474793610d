"""Every family, every analysis and every way to run a text with values on a device that is not the CPU.

The device is `pretend`: it needs no hardware, and whatever mixes its values with the CPU's raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import pretend
import results
from conftest import IDS
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.table import KINDS
from ggufjac.maps.model import Model
from tinymodels import FAMILIES, make

#: Variants that go other ways on a device than the family's plain form does.
VARIANTS = (
    ("llama", "biases"),
    ("llama", "experts"),
    ("llama", "grouped experts"),
    ("llama", "longrope"),
)
CASES = [*((family, "") for family in FAMILIES), *VARIANTS]


@pytest.mark.parametrize(("family", "variant"), CASES, ids=lambda x: x or "plain")
def test_a_map_is_the_same_on_a_device(family: str, variant: str, tmp_path: Path) -> None:
    overrides = FAMILIES[family].variants[variant] if variant else {}
    with Model.open(make(family, tmp_path / "tiny.gguf", **overrides)) as model:
        there = model.linearize(IDS[:5], device="pretend", memory=1 << 30)
        here = model.linearize(IDS[:5])
        assert there.inputs.device.type == "pretend"
        y, x = torch.randn(2, here.shape[0]), torch.randn(2, *here.shape[1:])
        pulled, pushed = there.rmatmat(y.to("pretend")), there.matmat(x.to("pretend"))
        assert pulled.device.type == pushed.device.type == "pretend"
        for found, expected in ((there.logits, here.logits), (pulled, here.rmatmat(y)), (pushed, here.matmat(x))):
            assert (found.cpu() - expected).norm() < 1e-5 * expected.norm()
        assert there.reconstruction_error() < 1e-5
        with pretend.crossings() as seen:
            there.rmatmat(y.to("pretend"))
            there.matmat(x.to("pretend"))
        assert len(seen) == 2, seen


# --- analyses -------------------------------------------------------------------------------------------------

#: What rounding decides alone: how far something is from being exact, and how long it took.
ROUNDING = {"seconds", "residual", "reconstruction", "error", "exactness", "noise", "remainders", "copying", "logits"}


@pytest.fixture(scope="module")
def both(tiny: Model) -> Iterator[tuple[dict[str, Result], dict[str, Result]]]:
    """A result of every kind, on the CPU and on the device, from searches of the same width."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ggufjac.maps.linear.ENOUGH_ROWS", 1 << 20)
        yield results.precise(tiny), results.every(tiny, dtype="float64", device="pretend")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "plan"])
def test_an_analysis_says_the_same_on_a_device(kind: str, both: tuple[dict[str, Result], dict[str, Result]]) -> None:
    here, there = (results_of[kind] for results_of in both)
    assert_same(there.to_dict(), here.to_dict())
    assert there.arrays.keys() == here.arrays.keys()
    for name, array in there.arrays.items():
        assert array.device.type == "cpu"
        assert array.shape == here.arrays[name].shape, name


def assert_same(found: Any, expected: Any, at: str = "") -> None:
    """The same plain values, numbers to what rounding leaves of them."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), at
        for key in expected.keys() - ROUNDING:
            assert_same(found[key], expected[key], f"{at}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), at
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{at}[{i}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-8), at
    else:
        assert found == expected, at
