"""What the kernels compute, by Triton's interpreter: TRITON_INTERPRET=1 python -m pytest interpreted.py."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import IDS
from ggufjac.llamacpp.quantize import quantize
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.model import Model
from ggufjac.network.forward import propagate, run_of
from ggufjac.quants import native
from ggufjac.quants.device import halves, products
from ggufjac.quants.device.kernels import Kernels
from ggufjac.quants.memory.store import DeviceWeights
from ggufjac.quants.tensor import QuantTensor
from ggufjac.quants.triton_kernels import launch
from ggufjac.quants.triton_kernels.fused import TritonKernels
from ggufjac.quants.triton_kernels.launch import Card
from ggufjac.reader.types import GGMLType
from tinymodels import make
from triton_checks.samples import ROWS, TYPES, WEIGHTS, packed

CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # random scales are infinite or not numbers


@pytest.fixture(params=TYPES, ids=lambda type: type.name)
def type(request: pytest.FixtureRequest) -> GGMLType:
    found: GGMLType = request.param
    return found


def weights(type: GGMLType, below: int = 60) -> tuple[Tensor, Tensor]:
    """Packed rows of finite weights, and these expanded by the kernels of the CPU."""
    data = packed(type, below=below)
    return torch.from_numpy(data), torch.from_numpy(native.dequantize(type, data))


def error(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


def test_expanded_blocks_have_the_bits_of_gguf(type: GGMLType) -> None:
    """Whatever is in the blocks, infinite scales too; any not-a-number is as good as another."""
    data = packed(type)
    expected = gguf.dequantize(data, gguf.GGMLQuantizationType(type))
    found = TritonKernels().expand(type, torch.from_numpy(data), WEIGHTS, torch.float32).numpy()
    both = np.isnan(found) & np.isnan(expected)
    assert np.array_equal(found.view(np.int32)[~both], expected.view(np.int32)[~both])


def test_float64_is_the_float32_widened(type: GGMLType) -> None:
    data, w = weights(type)
    assert torch.equal(TritonKernels().expand(type, data, WEIGHTS, torch.float64), w.double())


@pytest.mark.parametrize("m", [3, 17])
def test_products_of_a_few_rows(type: GGMLType, m: int) -> None:
    """Both directions, without and with matrix units, in one part and in several."""
    data, w = weights(type)
    x, g = torch.randn(m, WEIGHTS), torch.randn(m, ROWS)
    y, z = TritonKernels().apply(type, data, WEIGHTS, x), TritonKernels().adjoint(type, data, WEIGHTS, g)
    assert y is not None
    assert z is not None
    assert error(y, x.double() @ w.double().T) < 3e-7
    assert error(z, g.double() @ w.double()) < 3e-7


@pytest.mark.parametrize("hopper", [False, True])
@pytest.mark.parametrize("m", [5, 33, 64])
def test_more_rows_than_a_program_has_in_hand(m: int, hopper: bool) -> None:
    """As cards of either kind cut them: into blocks of 16, 32 or 64 rows, in parts that are added up."""
    data, w = weights(GGMLType.Q4_K)
    x, g = torch.randn(m, WEIGHTS), torch.randn(m, ROWS)
    card = Card(32, hopper)
    for (made, parts), exact in (
        (launch.apply_parts(GGMLType.Q4_K, data, x, card), x.double() @ w.double().T),
        (launch.adjoint_parts(GGMLType.Q4_K, data, WEIGHTS, g, card), g.double() @ w.double()),
    ):
        parts.fill_(torch.nan)
        made.run(CPU)
        assert error(parts.sum(0), exact) < 3e-7


def test_bfloat16() -> None:
    """The interpreter cuts digits off where cards round, and has no product of two bfloat16 for matrix units."""
    data, w = weights(GGMLType.Q4_K)
    found = TritonKernels().expand(GGMLType.Q4_K, data, WEIGHTS, torch.bfloat16).float()
    assert ((found - w).abs() <= 2**-7 * w.abs()).all()
    x, g = torch.randn(3, WEIGHTS).bfloat16(), torch.randn(3, ROWS).bfloat16()
    y = TritonKernels().apply(GGMLType.Q4_K, data, WEIGHTS, x)
    z = TritonKernels().adjoint(GGMLType.Q4_K, data, WEIGHTS, g)
    assert y is not None
    assert z is not None
    assert error(y, x.double() @ w.double().T) < 2**-7
    assert error(z, g.double() @ w.double()) < 2**-7


def test_halves_add_up(type: GGMLType) -> None:
    data, w = weights(type)
    parts = TritonKernels().halves(type, data, WEIGHTS)
    expected = halves.halves_of(w)
    assert torch.equal(parts.scale, expected.scale)
    assert torch.equal(parts.high, expected.high)
    assert torch.equal(parts.low, expected.low)


def test_rows_that_end_within_a_group_take_the_other_way() -> None:
    data = torch.from_numpy(packed(GGMLType.F16, n_in=40))
    kernels = TritonKernels()
    assert kernels.apply(GGMLType.F16, data, 40, torch.randn(1, 40)) is None
    expected = Kernels().expand(GGMLType.F16, data, 40, torch.float32)
    torch.testing.assert_close(kernels.expand(GGMLType.F16, data, 40, torch.float32), expected, equal_nan=True)


@pytest.mark.parametrize("fast_halves", [False, True])
@pytest.mark.parametrize("m", [5, 130])
def test_a_matrix_in_several_chunks(m: int, fast_halves: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ggufjac.quants.memory.store.CHUNK", 5000)
    monkeypatch.setattr(products, "TILE_WEIGHTS", 8 * WEIGHTS)
    data, w = weights(GGMLType.Q6_K)
    store = DeviceWeights(CPU, kernels=TritonKernels(fast_halves=fast_halves))
    weight = QuantTensor("w", GGMLType.Q6_K, WEIGHTS, data.numpy())
    assert len(list(store.chunks(weight))) > 2
    x, g = torch.randn(m, WEIGHTS), torch.randn(m, ROWS)
    assert error(products.apply(store, weight, x), x.double() @ w.double().T) < 3e-7
    assert error(products.adjoint(store, weight, g), g.double() @ w.double()) < 3e-7


def test_a_map_by_these_kernels(tmp_path: Path) -> None:
    """From the file to the map of a prompt, whose products have few rows when it is made and many in a sweep."""
    quantize(make("llama", tmp_path / "f32.gguf", n_layer=1), tmp_path / "q.gguf", "Q4_K_M")
    ids = IDS[:2]
    with Model.open(tmp_path / "q.gguf") as model, torch.no_grad():
        store = DeviceWeights(CPU, keep=1 << 30, kernels=TritonKernels())
        done = propagate(model.family, run_of(ids, store=store), model.embed(ids))
        there, here = DetachedMap(tuple(ids), done), model.linearize(ids)
        assert error(there.logits, here.logits) < 1e-5
        y = torch.randn(40, here.shape[0])
        assert error(there.rmatmat(y), here.rmatmat(y)) < 1e-5
