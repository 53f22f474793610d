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
from conftest import IDS
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
