"""The float32 copy of a model: judged by gguf's reader, gguf's dequantisation, and llama.cpp itself."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np
import pytest
from numpy.typing import NDArray

import tinymodels
from ggufjac.errors import UserError
from ggufjac.llamacpp.quantize import quantize
from ggufjac.llamacpp.run import Runner
from ggufjac.reader import GGMLType, GGUFFile
from ggufjac.reader import expand as expand_module
from ggufjac.reader.expand import expand_f32, expanded_size


def dequantize(kind: GGMLType, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
    if kind is GGMLType.F64:
        return rows.view("<f8").astype(np.float32)
    values: NDArray[np.float32] = gguf.dequantize(rows, gguf.GGMLQuantizationType(kind))
    return values


def write(path: Path, alignment: int | None = None, **options: Any) -> Path:
    """A model with tensors of several types and shapes; returns the first of its files."""
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama", **options)
    if alignment:
        writer.add_custom_alignment(alignment)
    writer.add_array("tokens", ["a", "▁b", ""])
    shapes = {
        GGMLType.F32: (5,),
        GGMLType.Q4_0: (3, 320),
        GGMLType.I32: (2, 3),
        GGMLType.Q6_K: (2, 3, 256),
        GGMLType.BF16: (2, 7),
        GGMLType.F16: (9,),
        GGMLType.F64: (2, 3),
    }
    for kind, shape in shapes.items():
        values = rng.standard_normal(shape)
        if kind is GGMLType.Q6_K:
            data = rng.integers(0, 60, (2, 3, kind.block_bytes), np.uint8)  # small bytes: the float16 scale is finite
        elif kind is GGMLType.I32:
            data = rng.integers(-9, 9, shape, np.int32)
        elif kind is GGMLType.F64:
            data = values
        else:
            data = gguf.quantize(values.astype(np.float32), gguf.GGMLQuantizationType(kind))
        raw = gguf.GGMLQuantizationType(kind) if data.dtype == np.uint8 else None
        writer.add_tensor(f"{kind.name}.weight", data, raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return min(path.parent.glob("*.gguf"))


@pytest.fixture
def source(tmp_path: Path) -> GGUFFile:
    (tmp_path / "in").mkdir()
    return GGUFFile.open(write(tmp_path / "in" / "model.gguf", alignment=64))


# Whole tensors, a few rows, and parts of a row at a time.
@pytest.mark.parametrize("piece", [1 << 23, 700, 256])
def test_copy_holds_the_dequantised_tensors(
    source: GGUFFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(expand_module, "PIECE_WEIGHTS", piece)
    target = tmp_path / "copy.gguf"
    expand_f32(source, target, dequantize)
    assert target.stat().st_size == expanded_size(source)
    reader = gguf.GGUFReader(target)
    assert [tensor.name for tensor in reader.tensors] == list(source.tensors)
    for tensor in reader.tensors:
        info = source.tensors[tensor.name]
        assert tuple(reversed(tensor.shape.tolist())) == info.shape
        packed = source.data(tensor.name)
        if info.type is GGMLType.I32:
            assert tensor.tensor_type == gguf.GGMLQuantizationType.I32
            expected: NDArray[Any] = packed.view(np.int32)
        else:
            assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
            expected = dequantize(info.type, packed)
        np.testing.assert_array_equal(tensor.data, expected.reshape(info.shape), strict=True)
    with GGUFFile.open(target) as copy:
        assert copy.raw_metadata == source.raw_metadata
        assert copy.version == source.version


def test_split_models_become_one_file(tmp_path: Path) -> None:
    (tmp_path / "split").mkdir()
    split = GGUFFile.open(write(tmp_path / "split" / "model.gguf", split_max_tensors=2))
    assert len(split.paths) == 4
    expand_f32(GGUFFile.open(write(tmp_path / "whole.gguf")), tmp_path / "one.gguf", dequantize)
    expand_f32(split, tmp_path / "four.gguf", dequantize)
    with GGUFFile.open(tmp_path / "one.gguf") as one, GGUFFile.open(tmp_path / "four.gguf") as four:
        assert list(four.metadata) == list(one.metadata)
        assert four.tensors.keys() == one.tensors.keys()
        for name in one.tensors:
            np.testing.assert_array_equal(four.data(name), one.data(name))


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_of_a_failed_copy(source: GGUFFile, tmp_path: Path, failure: type[BaseException]) -> None:
    target = tmp_path / "out" / "copy.gguf"
    target.parent.mkdir()
    target.write_bytes(b"before")

    def fails_late(kind: GGMLType, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        if kind is GGMLType.BF16:
            raise failure
        return dequantize(kind, rows)

    with pytest.raises(failure):
        expand_f32(source, target, fails_late)
    assert [path.name for path in target.parent.iterdir()] == ["copy.gguf"]
    assert target.read_bytes() == b"before"


def test_a_wrong_number_of_values_is_noticed(source: GGUFFile, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Q4_0\.weight: 3836 bytes were dequantised where 3840 belong"):
        expand_f32(source, tmp_path / "copy.gguf", lambda kind, rows: dequantize(kind, rows).reshape(-1)[1:])
    assert not (tmp_path / "copy.gguf").exists()


def test_targets_that_cannot_be_written(source: GGUFFile, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        expand_f32(source, tmp_path / "absent" / "copy.gguf", dequantize)
    link = tmp_path / "link.gguf"
    link.symlink_to(source.path)
    with pytest.raises(UserError, match="is the model itself"):
        expand_f32(source, link, dequantize)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_full_disk(source: GGUFFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *mode: real(Path("/dev/full"), "wb"))
    with pytest.raises(
        UserError, match=rf"copy\.gguf: cannot be written \(No space.*it takes {expanded_size(source)} by"
    ):
        expand_f32(source, tmp_path / "copy.gguf", dequantize)


@pytest.mark.parametrize("ftype", ["Q4_K_M", "BF16"])
def test_llama_cpp_computes_what_it_does_with_its_own_expansion(tmp_path: Path, ftype: str) -> None:
    tinymodels.make("llama", tmp_path / "tiny.gguf")
    quantize(tmp_path / "tiny.gguf", tmp_path / "packed.gguf", ftype)
    with GGUFFile.open(tmp_path / "packed.gguf") as source:
        expand_f32(source, tmp_path / "ours.gguf", dequantize)

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = llama_cpp.LLAMA_FTYPE_ALL_F32
    params.allow_requantize = True
    theirs = os.fsencode(tmp_path / "theirs.gguf")
    assert llama_cpp.llama_model_quantize(os.fsencode(tmp_path / "packed.gguf"), theirs, ctypes.byref(params)) == 0

    logits = []
    for name in ("ours.gguf", "theirs.gguf"):
        with Runner(tmp_path / name, 64) as runner:
            logits.append(runner.logits([1, 40, 50, 60, 45], all_positions=True))
    np.testing.assert_array_equal(*logits)
