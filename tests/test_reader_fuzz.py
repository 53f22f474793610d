"""Damaged files, made by hypothesis out of a good one: each opens or is refused in one line, in little memory."""

from __future__ import annotations

import ctypes
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import NO_CLOCK
from ggufjac.errors import UserError
from ggufjac.reader import GGMLType, GGUFFile
from ggufjac.reader.metadata import ValueType

#: What opening and reading all of a file of a few KiB may allocate at its peak.
MOST_BYTES = 1 << 20

FUZZ = settings(
    max_examples=400, derandomize=True, suppress_health_check=[*NO_CLOCK, HealthCheck.function_scoped_fixture]
)


def _good(folder: Path) -> bytes:
    """A small file with every kind of metadata value and several tensor types."""
    path = folder / "good.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_custom_alignment(16)
    writer.add_uint8("u8", 1)
    writer.add_float32("f32", 0.5)
    writer.add_bool("bool", True)
    writer.add_uint64("u64", 1)
    writer.add_array("tokens", ["a", "bc", ""])
    writer.add_array("scores", [0.5, 1.5])
    writer.add_array("types", [1, 2, 3])
    rng = np.random.default_rng(0)
    for kind in (GGMLType.F32, GGMLType.F16, GGMLType.Q4_0, GGMLType.Q6_K):
        data = rng.integers(0, 256, (2, kind.block_bytes), np.uint8)
        writer.add_tensor(f"{kind.name}.weight", data, raw_dtype=gguf.GGMLQuantizationType(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return _good(tmp_path_factory.mktemp("good"))


def _touch(value: Any) -> None:
    """Read every byte of a decoded value."""
    if isinstance(value, list):
        for item in value:
            _touch(item)
    elif isinstance(value, np.ndarray):
        value.tobytes()
    else:
        assert isinstance(value, int | float | bool | str)


def _read_all(path: Path) -> None:
    with GGUFFile.open(path) as file:
        for key in file.metadata:
            _touch(file.metadata[key])
        for name, info in file.tensors.items():
            data = file.data(name)
            assert data.nbytes == info.nbytes == info.n_weights // info.type.block * info.type.block_bytes
            data.tobytes()
        try:
            assert isinstance(file.architecture, str)
        except UserError as error:
            _check_message(error, path)


def _check_message(error: UserError, path: Path) -> None:
    assert str(error).startswith(f"{path}: ")
    assert str(error).isprintable()
    assert len(str(error)) < 1000


def _survives(content: bytes, path: Path) -> None:
    """The whole property: the bytes either make a readable file or one UserError, within MOST_BYTES."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        try:
            _read_all(path)
        except UserError as error:
            _check_message(error, path)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


def test_the_file_itself_is_good(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(good)
    _read_all(path)


# Half of all positions in the first part, where lengths, counts and types lie.
def _positions(size: int) -> st.SearchStrategy[int]:
    return st.one_of(st.integers(0, min(size, 400) - 1), st.integers(0, size - 1))


@FUZZ
@given(data=st.data())
def test_changed_bytes(good: bytes, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(good)
    for position in data.draw(st.lists(_positions(len(content)), min_size=1, max_size=4)):
        content[position] = data.draw(st.integers(0, 255))
    _survives(bytes(content), tmp_path / "model.gguf")


@FUZZ
@given(data=st.data())
def test_numbers_set_to_extremes(good: bytes, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(good)
    powers = st.integers(0, 63).map(lambda bit: 1 << bit)
    number = st.one_of(powers, st.sampled_from([0, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 32, 2**64 - 1]))
    for position in data.draw(st.lists(_positions(len(content) - 8), min_size=1, max_size=3)):
        struct.pack_into("<Q", content, position, data.draw(number))
    _survives(bytes(content), tmp_path / "model.gguf")


@FUZZ
@given(data=st.data())
def test_cut_and_spliced(good: bytes, tmp_path: Path, data: st.DataObject) -> None:
    cuts = st.integers(0, len(good))
    pieces = data.draw(st.lists(st.tuples(cuts, cuts), max_size=3))
    start = data.draw(st.integers(24, len(good)))
    filler = data.draw(st.binary(max_size=64))
    content = good[:start] + filler + b"".join(good[a:b] for a, b in pieces)
    _survives(content, tmp_path / "model.gguf")


@FUZZ
@given(
    version=st.sampled_from([2, 3]),
    n_tensors=st.integers(0, 3),
    n_pairs=st.integers(0, 3),
    # Small little-endian numbers of 4 and 8 bytes are what lengths, counts, types and short names are made of.
    rest=st.lists(
        st.one_of(
            st.integers(0, 45).map(lambda n: struct.pack("<I", n)),
            st.integers(0, 40).map(lambda n: struct.pack("<Q", n)),
            st.binary(max_size=8),
        ),
        max_size=60,
    ),
)
def test_made_up_files(tmp_path: Path, version: int, n_tensors: int, n_pairs: int, rest: list[bytes]) -> None:
    content = b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_pairs) + b"".join(rest)
    _survives(content, tmp_path / "model.gguf")


@FUZZ
@given(content=st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    _survives(content, tmp_path / "model.gguf")


# llama.cpp as the judge: what its parser refuses, this one refuses.


class _InitParams(ctypes.Structure):
    """gguf.h's struct gguf_init_params."""

    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


@pytest.fixture(scope="module")
def ggml() -> ctypes.CDLL:
    folder = Path(llama_cpp.__file__).parent / "lib"
    library = ctypes.CDLL(str(next(path for path in folder.iterdir() if "ggml-base" in path.name)))
    library.gguf_init_from_file.argtypes = [ctypes.c_char_p, _InitParams]
    library.gguf_init_from_file.restype = ctypes.c_void_p
    library.gguf_free.argtypes = [ctypes.c_void_p]
    return library


def _ggml_accepts(ggml: ctypes.CDLL, path: Path) -> bool:
    context = ggml.gguf_init_from_file(bytes(path), _InitParams(True, None))
    if context:
        ggml.gguf_free(context)
    return bool(context)


def _accepts(path: Path) -> bool:
    try:
        with GGUFFile.open(path) as file:
            # Arrays of arrays are in the specification but not in llama.cpp.
            return all(entry.item is not ValueType.ARRAY for entry in file.metadata.entries.values())
    except UserError:
        return False


def test_ggml_accepts_the_good_file(good: bytes, tmp_path: Path, ggml: ctypes.CDLL) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(good)
    assert _ggml_accepts(ggml, path)


@settings(FUZZ, max_examples=1000)
@given(data=st.data())
def test_what_ggml_refuses_is_refused(good: bytes, tmp_path: Path, ggml: ctypes.CDLL, data: st.DataObject) -> None:
    content = bytearray(good)
    position = data.draw(st.integers(4, 700))
    if data.draw(st.booleans()):
        content[position] = data.draw(st.integers(0, 255))
    else:
        struct.pack_into("<Q", content, position, data.draw(st.integers(0, 63).map(lambda bit: 1 << bit)))
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    if not _ggml_accepts(ggml, path):
        assert not _accepts(path)
