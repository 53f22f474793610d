"""Constants told apart: together they are the map's constant, and each is what a forward sweep of it alone gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from conftest import IDS
from ggufjac.maps import sweeps
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.model import Model
from ggufjac.maps.within.constants import Constants, Source, constants
from ggufjac.operators import Bias
from ggufjac.operators.base import built
from ggufjac.operators.preceded import Preceded
from ggufjac.operators.walk import leaves
from tinymodels import FAMILIES, make

PROMPT = IDS[:6]
#: What is added to a state without being a tensor of the file.
UNFILED = {"up + 1"}
#: Families whose constants are of every kind: of the stream, of writes, of experts, of positions, of recurrences.
TOLD = ("qwen2", "gpt2", "phi2", "gpt-oss", "gemma3n", "mamba2", "rwkv7")


def functionals(linear: DetachedMap) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2, linear.shape[0], generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module", params=TOLD)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with Model.open(make(request.param, tmp_path_factory.mktemp("constants") / "tiny.gguf")) as opened:
        yield opened


@pytest.fixture(scope="module")
def linear(model: Model) -> DetachedMap:
    return model.linearize(PROMPT, "float64")


@pytest.fixture(scope="module")
def found(linear: DetachedMap) -> Constants:
    return constants(linear, functionals(linear))


@pytest.mark.parametrize("family", FAMILIES)
def test_they_add_up_and_are_called_as_in_the_file(family: str, tmp_path: Path) -> None:
    with Model.open(make(family, tmp_path / "tiny.gguf")) as model:
        linear = model.linearize(PROMPT, "float64")
        w = functionals(linear)
        told = constants(linear, w)
        torch.testing.assert_close(told.worth.sum((0, 2)), w @ linear.constant, rtol=1e-12, atol=1e-13)
        assert bool(linear.constant.any()) == bool(told.sources)
        for source in told.sources:
            assert source.name in UNFILED or source.name in model.file.tensors
            assert source.layer is None or f"blk.{source.layer}." in source.name or not source.name.startswith("blk.")


def alone(linear: DetachedMap, wanted: Source, position: int | None = None) -> Tensor:
    """What comes out when only the constants of one layer and name are there, or only those at one position."""
    zero, x = linear.inputs.new_zeros(1, *linear.inputs.shape), None
    for at, op in enumerate(map(built, linear.operators)):
        layer = at if at < len(linear.forward_pass.layers) else None
        kept = [(leaf, leaf.b) for leaf in {id(leaf): leaf for leaf in leaves(op)}.values() if isinstance(leaf, Bias)]
        for leaf, _ in kept:
            if (layer, leaf.name) != (wanted.layer, wanted.name):
                leaf.b = torch.zeros_like(leaf.b)
            elif position is not None:
                leaf.b = torch.stack(
                    [leaf.b if p == position else torch.zeros_like(leaf.b) for p in range(len(PROMPT))]
                )
        x = sweeps.forward([op], zero if x is None else x, 1.0)
        for leaf, b in kept:
            leaf.b = b
    assert x is not None
    return x[0, 0]


def test_each_is_what_it_gives_alone(linear: DetachedMap, found: Constants) -> None:
    w = functionals(linear)
    assert found.sources
    for wanted in dict.fromkeys((source.layer, source.name) for source in found.sources):
        same = [i for i, source in enumerate(found.sources) if (source.layer, source.name) == wanted]
        told = found.worth[same].sum((0, 2))
        expected = w @ alone(linear, found.sources[same[0]])
        assert float(expected.abs().max()) > 1e-9
        torch.testing.assert_close(told, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
def test_each_position_has_its_own(family: str, tmp_path: Path) -> None:
    with Model.open(make(family, tmp_path / "tiny.gguf")) as model:
        linear = model.linearize(PROMPT, "float64")
        w = functionals(linear)
        told = constants(linear, w)
        (at,) = [i for i, s in enumerate(told.sources) if s.layer == 0 and s.name.endswith(("attn_v.bias", "qkv.bias"))]
        for position in range(len(PROMPT)):
            expected = w @ alone(linear, told.sources[at], position)
            torch.testing.assert_close(told.worth[at, :, position], expected, rtol=1e-10, atol=1e-13)
        assert len(set(told.worth[at, 0].tolist())) == len(PROMPT)


def test_what_the_last_layer_drops_enters_at_the_last_position(tmp_path: Path) -> None:
    with Model.open(make("gpt2", tmp_path / "tiny.gguf")) as model:
        linear = model.linearize(PROMPT, "float64")
        told = constants(linear, functionals(linear))
        last = next(i for i, source in enumerate(told.sources) if source.name == "output_norm.bias")
        assert told.sources[last] == Source(None, None, "output_norm.bias")
        assert not told.worth[last, :, :-1].any()
        assert told.worth[last, :, -1].all()


def test_the_write_they_enter_in_is_told(tmp_path: Path) -> None:
    with Model.open(make("phi2", tmp_path / "tiny.gguf")) as model:
        linear = model.linearize(PROMPT, "float64")
        told = {(s.layer, s.part, s.name) for s in constants(linear, functionals(linear)).sources}
        # both branches read one norm, whose bias enters in each
        assert {(0, "attn", "blk.0.attn_norm.bias"), (0, "mlp", "blk.0.attn_norm.bias")} <= told


def test_small_pieces_change_nothing(linear: DetachedMap, found: Constants, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "piece_columns", lambda *_: 1)
    again = constants(linear, functionals(linear))
    assert again.sources == found.sources
    torch.testing.assert_close(again.worth, found.worth, rtol=1e-12, atol=1e-14)


def test_coefficients_that_are_made_anew_change_nothing(model: Model, found: Constants) -> None:
    tight = model.linearize(PROMPT, "float64", memory=1 << 20)
    again = constants(tight, functionals(tight))
    assert again.sources == found.sources
    torch.testing.assert_close(again.worth, found.worth, rtol=1e-10, atol=1e-13)


def test_positions_before_the_maps_own_have_no_place(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    linear = model.linearize(PROMPT, "float64")
    monkeypatch.setattr(linear, "operators", (Preceded(linear.inputs[:1]), *linear.operators))
    monkeypatch.setattr(linear, "inputs", linear.inputs[1:])
    with pytest.raises(ValueError, match="before the map's own"):
        constants(linear, functionals(linear))
