"""The torch formats against gguf's dequantisation and against ggml's own C functions, bit for bit."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from ggufjac.errors import UserError
from ggufjac.quants.torch_formats import dequantize_blocks
from ggufjac.reader.types import INTEGERS, GGMLType

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

WEIGHTS = [kind for kind in GGMLType if kind not in INTEGERS]
#: gguf has no dequantisation for these.
NOT_IN_GGUF = {GGMLType.Q1_0, GGMLType.Q2_0, GGMLType.F64}
#: Plain numbers, which ggml converts by other functions.
NOT_A_ROW_FUNCTION = {GGMLType.F32, GGMLType.F16, GGMLType.BF16, GGMLType.F64}


def ours(kind: GGMLType, blocks: Bytes) -> Floats:
    values: Floats = dequantize_blocks(kind, torch.from_numpy(blocks)).numpy()
    return values


def by_gguf(kind: GGMLType, blocks: Bytes) -> Floats:
    # Random bytes hold scales that are infinite or not numbers.
    with np.errstate(all="ignore"):
        return gguf.dequantize(blocks, gguf.GGMLQuantizationType(kind)).reshape(-1, kind.block)


@pytest.fixture(scope="module")
def ggml() -> ctypes.CDLL:
    folder = Path(llama_cpp.__file__).parent / "lib"
    return ctypes.CDLL(str(next(path for path in folder.iterdir() if "ggml-base" in path.name)))


def by_ggml(ggml: ctypes.CDLL, kind: GGMLType, blocks: Bytes) -> Floats:
    function = getattr(ggml, f"dequantize_row_{kind.name.lower().replace('_k', '_K')}")
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    function.restype = None
    values = np.empty((len(blocks), kind.block), np.float32)
    function(blocks.ctypes.data, values.ctypes.data, values.size)
    return values


def assert_same_bits(actual: Floats, expected: Floats) -> None:
    """Equal bit for bit; any not-a-number is as good as another."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype == np.float32
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(actual), nan)
    np.testing.assert_array_equal(actual.view(np.uint32)[~nan], expected.view(np.uint32)[~nan])


def random_blocks(kind: GGMLType, n: int) -> Bytes:
    return np.random.default_rng(kind).integers(0, 256, (n, kind.block_bytes), np.uint8)


# Enough blocks that every entry of the largest codebook (2048) and every value of every byte comes up.
@pytest.mark.parametrize("kind", [kind for kind in WEIGHTS if kind not in NOT_IN_GGUF])
def test_equals_gguf(kind: GGMLType) -> None:
    blocks = random_blocks(kind, 2000)
    assert_same_bits(ours(kind, blocks), by_gguf(kind, blocks))


@pytest.mark.parametrize("kind", [kind for kind in WEIGHTS if kind not in NOT_A_ROW_FUNCTION])
def test_equals_ggml(kind: GGMLType, ggml: ctypes.CDLL) -> None:
    blocks = random_blocks(kind, 2000)
    assert_same_bits(ours(kind, blocks), by_ggml(ggml, kind, blocks))


@pytest.mark.parametrize("kind", WEIGHTS)
@settings(max_examples=30, derandomize=True)
@given(data=st.data())
def test_equals_the_reference_for_any_bytes(kind: GGMLType, ggml: ctypes.CDLL, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 3))
    size = n * kind.block_bytes
    raw = data.draw(st.binary(min_size=size, max_size=size))
    blocks = np.frombuffer(bytearray(raw), np.uint8).reshape(n, kind.block_bytes)
    if kind is GGMLType.F64:
        with np.errstate(all="ignore"):
            expected = blocks.view("<f8").astype(np.float32)
    elif kind in NOT_IN_GGUF:
        expected = by_ggml(ggml, kind, blocks)
    else:
        expected = by_gguf(kind, blocks)
    assert_same_bits(ours(kind, blocks), expected)


@pytest.mark.parametrize("kind", WEIGHTS)
def test_blocks_that_do_not_lie_together(kind: GGMLType) -> None:
    blocks = torch.from_numpy(random_blocks(kind, 12))
    wide = torch.cat([blocks, blocks], 1)
    odd = torch.cat([blocks[0, :1], blocks.flatten()])[1:].reshape(blocks.shape)
    for part in (blocks[::3], blocks[5:6], wide[:, : kind.block_bytes], wide[1::2, kind.block_bytes :], odd, odd[3:4]):
        expected = dequantize_blocks(kind, part.clone(memory_format=torch.contiguous_format))
        assert_same_bits(dequantize_blocks(kind, part).numpy(), expected.numpy())


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("n", [0, 5])
def test_shapes_on_every_kind_of_tensor(kind: GGMLType, n: int) -> None:
    real = dequantize_blocks(kind, torch.zeros(n, kind.block_bytes, dtype=torch.uint8))
    meta = dequantize_blocks(kind, torch.zeros(n, kind.block_bytes, dtype=torch.uint8, device="meta"))
    with FakeTensorMode():
        fake = dequantize_blocks(kind, torch.zeros(n, kind.block_bytes, dtype=torch.uint8))
    assert isinstance(fake, FakeTensor)
    assert meta.device.type == "meta"
    for values in (real, meta, fake):
        assert values.shape == (n, kind.block)
        assert values.dtype == torch.float32


@pytest.mark.parametrize("kind", WEIGHTS)
def test_results_do_not_depend_on_the_default_dtype(kind: GGMLType) -> None:
    blocks = random_blocks(kind, 3)
    expected = ours(kind, blocks)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        actual = ours(kind, blocks)
    finally:
        torch.set_default_dtype(before)
    assert_same_bits(actual, expected)


def test_codebooks_made_for_fake_tensors_are_not_kept() -> None:
    kind = GGMLType.IQ3_S
    with FakeTensorMode():
        dequantize_blocks(kind, torch.zeros(1, kind.block_bytes, dtype=torch.uint8))
    blocks = random_blocks(kind, 3)
    assert_same_bits(ours(kind, blocks), by_gguf(kind, blocks))


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_other_devices_equal_the_cpu(device: str) -> None:
    if not getattr(torch, device).is_available():
        pytest.skip(f"no {device} device")
    for kind in WEIGHTS:
        if device == "mps" and kind is GGMLType.F64:
            continue  # MPS has no float64
        blocks = random_blocks(kind, 200)
        values = dequantize_blocks(kind, torch.from_numpy(blocks).to(device))
        assert values.device.type == device
        assert_same_bits(values.cpu().numpy(), ours(kind, blocks))


@pytest.mark.parametrize("kind", sorted(INTEGERS))
def test_integers_are_not_weights(kind: GGMLType) -> None:
    with pytest.raises(UserError, match=f"type {kind.name} hold no weights; the weight types are F32, F16"):
        dequantize_blocks(kind, torch.zeros(1, kind.block_bytes, dtype=torch.uint8))


@pytest.mark.parametrize(
    "blocks", [torch.zeros(2, 17, dtype=torch.uint8), torch.zeros(36, dtype=torch.uint8), torch.zeros(2, 18)]
)
def test_blocks_of_another_size(blocks: Any) -> None:
    with pytest.raises(ValueError, match=r"Q4_0 blocks are uint8 \[n, 18\], not "):
        dequantize_blocks(GGMLType.Q4_0, blocks)
