"""The C++ kernels against gguf's own dequantisation, against llama.cpp's, and against NumPy in float64."""

from __future__ import annotations

import ctypes
import math
import os
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import gguf.quants
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ggufjac import _native
from ggufjac.quants import native
from ggufjac.reader.types import INTEGERS, GGMLType

WEIGHTS = [t for t in GGMLType if t not in INTEGERS]
GGUF_HAS_NONE = {GGMLType.F64, GGMLType.Q1_0, GGMLType.Q2_0}
RUNNABLE = _native.info()["runnable"]
FLOATS = [np.float32, np.float64]
#: Unit roundoff times a safe factor for the sums of these tests, relative to |x| @ |W|.
BOUND = {np.float32: 2e-6, np.float64: 4e-15}

types = st.sampled_from(WEIGHTS)
isas = st.sampled_from(RUNNABLE)
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=60)


def columns(type: GGMLType, blocks: int) -> int:
    """So many columns: whole blocks, and for types without blocks a number that is no multiple of anything."""
    return blocks * type.block if type.block > 1 else 61 * blocks - 24


def random_bytes(type: GGMLType, rows: int, blocks: int, seed: int) -> NDArray[np.uint8]:
    shape = (rows, columns(type, blocks) // type.block * type.block_bytes)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def expand(type: GGMLType, data: NDArray[np.uint8], isa: str | None = None, threads: int = 0) -> NDArray[np.float32]:
    out = np.full((data.shape[0], data.shape[1] // type.block_bytes * type.block), np.nan, np.float32)
    _native.dequantize(type, data, out, native.codebook(type), threads, isa)
    return out


def same_bits(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    """Equal as bits, except that any NaN equals any NaN: which payload an operation gives is the processor's choice."""
    assert a.shape == b.shape
    return bool(((a.view(np.uint32) == b.view(np.uint32)) | (np.isnan(a) & np.isnan(b))).all())


def product(
    adjoint: bool,
    data: NDArray[np.uint8],
    x: NDArray[Any],
    type: GGMLType = GGMLType.F32,
    threads: int = 0,
    isa: str | None = None,
) -> NDArray[Any]:
    cols = data.shape[1] // type.block_bytes * type.block
    out = np.full((x.shape[0], cols if adjoint else data.shape[0]), np.nan, x.dtype)
    kernel = _native.matmul_adjoint if adjoint else _native.matmul
    kernel(type, data, x, out, native.codebook(type), threads, isa)
    return out


def finite_weights(type: GGMLType, rows: int, blocks: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Packed weights without NaN and without huge values, and the same weights in float64."""
    rng = np.random.default_rng(seed)
    if type.block == 1:
        values = rng.standard_normal((rows, columns(type, blocks))).astype(np.float32)
        if type == GGMLType.F32:
            data = values.view(np.uint8)
        elif type == GGMLType.F64:
            data = values.astype(np.float64).view(np.uint8)
        elif type == GGMLType.F16:
            data = values.astype(np.float16).view(np.uint8)
        else:
            data = np.ascontiguousarray(values.view(np.uint16)[:, 1::2]).view(np.uint8)
    else:
        # Bytes below 60 make small positive halves wherever a block keeps its scales.
        data = rng.integers(0, 60, (rows, blocks * type.block_bytes), dtype=np.uint8)
    weights = expand(type, data).astype(np.float64)
    assert np.isfinite(weights).all()
    return data, weights


# ---- expanding


@few
@given(type=types, rows=st.integers(1, 5), blocks=st.integers(1, 4), seed=seeds, isa=isas)
def test_dequantize_gives_the_bits_of_gguf(type: GGMLType, rows: int, blocks: int, seed: int, isa: str) -> None:
    data = random_bytes(type, rows, blocks, seed)
    if type == GGMLType.F64:
        with np.errstate(all="ignore"):
            expected = data.view(np.float64).astype(np.float32)
    elif type in {GGMLType.Q1_0, GGMLType.Q2_0}:
        expected = from_llama_cpp(type, data)
    else:
        with np.errstate(all="ignore"):
            expected = gguf.quants.dequantize(data, gguf.GGMLQuantizationType(int(type)))
    assert same_bits(expand(type, data, isa), expected)


@pytest.mark.parametrize("type", WEIGHTS, ids=lambda t: t.name)
def test_every_type_gives_the_bits_of_gguf(type: GGMLType) -> None:
    data = random_bytes(type, 64, 3, 7)
    with np.errstate(all="ignore"):
        if type == GGMLType.F64:
            expected = data.view(np.float64).astype(np.float32)
        elif type in {GGMLType.Q1_0, GGMLType.Q2_0}:
            expected = from_llama_cpp(type, data)
        else:
            expected = gguf.quants.dequantize(data, gguf.GGMLQuantizationType(int(type)))
    for isa in RUNNABLE:
        assert same_bits(expand(type, data, isa), expected), isa


@cache
def ggml() -> Any:
    llama_cpp = pytest.importorskip("llama_cpp")
    package = Path(llama_cpp.__file__).parent
    found = [*package.glob("**/*ggml-base*.so*"), *package.glob("**/*ggml-base*.dylib")]
    library = min(found, default=None)
    if library is None:
        pytest.skip("no shared ggml library in this llama_cpp")

    class Traits(ctypes.Structure):
        """ggml_type_traits of ggml.h."""

        _fields_ = [
            ("type_name", ctypes.c_char_p),
            ("blck_size", ctypes.c_int64),
            ("blck_size_interleave", ctypes.c_int64),
            ("type_size", ctypes.c_size_t),
            ("is_quantized", ctypes.c_bool),
            ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
            ("from_float_ref", ctypes.c_void_p),
        ]

    handle = ctypes.CDLL(str(library))
    handle.ggml_get_type_traits.restype = ctypes.POINTER(Traits)
    handle.ggml_get_type_traits.argtypes = [ctypes.c_int]
    return handle


def from_llama_cpp(type: GGMLType, data: NDArray[np.uint8]) -> NDArray[np.float32]:
    """llama.cpp's own expansion."""
    traits = ggml().ggml_get_type_traits(int(type)).contents
    assert (traits.blck_size, traits.type_size) == (type.block, type.block_bytes)
    out = np.empty((data.shape[0], data.shape[1] // type.block_bytes * type.block), np.float32)
    traits.to_float(data.ctypes.data, out.ctypes.data, out.size)
    return out


@pytest.mark.parametrize(
    "type", [GGMLType.Q1_0, GGMLType.Q4_K, GGMLType.Q6_K, GGMLType.IQ1_M, GGMLType.IQ3_S], ids=lambda t: t.name
)
def test_dequantize_agrees_with_llama_cpp(type: GGMLType) -> None:
    data, _ = finite_weights(type, 33, 2, 3)
    ours, theirs = expand(type, data), from_llama_cpp(type, data)
    # llama.cpp may round d * q - m once where gguf rounds twice.
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2**-22 * float(np.abs(theirs).max()))
    if type == GGMLType.Q1_0:
        assert same_bits(ours, theirs)


def test_dequantize_reads_unaligned_read_only_maps(tmp_path: Path) -> None:
    data = random_bytes(GGMLType.Q6_K, 9, 2, 1)
    (tmp_path / "w").write_bytes(b"?" + data.tobytes())
    mapped = np.memmap(tmp_path / "w", dtype=np.uint8, mode="r")[1:].reshape(data.shape)
    assert same_bits(native.dequantize(GGMLType.Q6_K, mapped), native.dequantize(GGMLType.Q6_K, data))


@few
@given(type=types, seed=seeds, m=st.sampled_from([1, 2, 3, 17]), dtype=st.sampled_from(FLOATS), isa=isas)
def test_any_bytes_can_be_multiplied(type: GGMLType, seed: int, m: int, dtype: Any, isa: str) -> None:
    """Random bytes hold NaN and infinities: the kernels neither crash nor hide them."""
    data = random_bytes(type, 3, 2, seed)
    x = np.ones((m, columns(type, 2)), dtype)
    out = product(False, data, x, type, isa=isa)
    bad = ~np.isfinite(expand(type, data)).all(axis=1)
    assert (~np.isfinite(out[:, bad])).all()
    product(True, data, np.ones((m, 3), dtype), type, isa=isa)


# ---- products


@few
@given(
    type=types,
    rows=st.integers(1, 70),
    blocks=st.integers(1, 5),
    m=st.integers(0, 40),
    adjoint=st.booleans(),
    dtype=st.sampled_from(FLOATS),
    isa=isas,
    seed=seeds,
)
def test_products_agree_with_float64(
    type: GGMLType, rows: int, blocks: int, m: int, adjoint: bool, dtype: Any, isa: str, seed: int
) -> None:
    data, weights = finite_weights(type, rows, blocks, seed)
    w = weights if adjoint else weights.T
    x = np.random.default_rng(seed + 1).standard_normal((m, w.shape[0])).astype(dtype)
    out = product(adjoint, data, x, type, isa=isa)
    wide = x.astype(np.float64)
    assert (np.abs(out - wide @ w) <= BOUND[dtype] * (np.abs(wide) @ np.abs(w)) + 1e-300).all()


@pytest.mark.parametrize("adjoint", [False, True], ids=["apply", "adjoint"])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("isa", RUNNABLE)
@pytest.mark.parametrize("type", WEIGHTS, ids=lambda t: t.name)
def test_products_of_every_type(type: GGMLType, isa: str, dtype: Any, adjoint: bool) -> None:
    """In every loop of the kernels (they are chosen by the number of columns), with more than one panel."""
    data, weights = finite_weights(type, 37, 3 if type.block == 256 else 33, 1)
    w = weights if adjoint else weights.T
    for m in (*range(1, 8), 60):
        x = np.random.default_rng(2).standard_normal((m, w.shape[0])).astype(dtype)
        wide = x.astype(np.float64)
        out = product(adjoint, data, x, type, isa=isa)
        assert (np.abs(out - wide @ w) <= BOUND[dtype] * (np.abs(wide) @ np.abs(w)) + 1e-300).all(), m


SHAPES = [(1, 1), (1, 300), (300, 1), (7, 1025), (33, 2500), (192, 576), (529, 2049)]


@pytest.mark.parametrize("adjoint", [False, True], ids=["apply", "adjoint"])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("isa", RUNNABLE)
@pytest.mark.parametrize(("rows", "cols"), SHAPES)
def test_products_at_the_edges_of_tiles(rows: int, cols: int, isa: str, dtype: Any, adjoint: bool) -> None:
    rng = np.random.default_rng(5)
    weights = rng.standard_normal((rows, cols)).astype(np.float32)
    w = weights.astype(np.float64) if adjoint else weights.astype(np.float64).T
    for m in (1, 2, 3, 8, 13, 14, 15, 16, 17, 29, 70, 127, 129, 300):
        x = rng.standard_normal((m, w.shape[0])).astype(dtype)
        wide = x.astype(np.float64)
        out = product(adjoint, weights.view(np.uint8), x, isa=isa)
        assert (np.abs(out - wide @ w) <= BOUND[dtype] * (np.abs(wide) @ np.abs(w))).all(), m


@pytest.mark.parametrize("adjoint", [False, True], ids=["apply", "adjoint"])
@pytest.mark.parametrize("m", [1, 2, 4, 16, 17, 64])
@pytest.mark.parametrize("isa", RUNNABLE)
@pytest.mark.parametrize(("rows", "cols"), [(576, 1536), (192, 576), (64, 14336), (14336, 64)])
def test_float32_errors_do_not_grow_with_the_length_of_a_sum(
    rows: int, cols: int, isa: str, m: int, adjoint: bool
) -> None:
    """Sums run in blocks of 256 or so. A running sum of n random terms is off by 2**-24 * sqrt(n / 2) of itself if
    every rounding is the worst, and by 0.4 of that usually: BLAS, with running sums for one column, by 27 * 2**-24 at
    n = 14336, the kernels by 5.5 at most, whichever the instruction set."""
    rng = np.random.default_rng(11)
    weights = rng.standard_normal((rows, cols)).astype(np.float32)
    w = weights if adjoint else weights.T
    x = rng.standard_normal((m, w.shape[0])).astype(np.float32)
    exact = x.astype(np.float64) @ w.astype(np.float64)
    ours = product(adjoint, weights.view(np.uint8), x, isa=isa)
    assert np.linalg.norm(ours - exact) <= 2**-24 * np.sqrt(min(w.shape[0], 256) / 2) * np.linalg.norm(exact)


@few
@given(type=types, m=st.integers(1, 30), seed=seeds)
def test_adjoint_identity(type: GGMLType, m: int, seed: int) -> None:
    """<g, W x> = <g W, x> column by column, in float64."""
    data, weights = finite_weights(type, 37, 2, seed)
    rng = np.random.default_rng(seed)
    x, g = rng.standard_normal((m, weights.shape[1])), rng.standard_normal((m, 37))
    left = (g * native.matmul(type, data, x)).sum(axis=1)
    right = (native.matmul_adjoint(type, data, g) * x).sum(axis=1)
    scale = (np.abs(g) @ np.abs(weights) * np.abs(x)).sum(axis=1)
    assert (np.abs(left - right) <= 1e-14 * scale + 1e-300).all()


@pytest.mark.parametrize("adjoint", [False, True], ids=["apply", "adjoint"])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("m", [1, 2, 5, 16, 40, 600])
@pytest.mark.parametrize("type", [GGMLType.Q4_K, GGMLType.Q4_1, GGMLType.F32], ids=lambda t: t.name)
def test_bits_do_not_depend_on_threads(type: GGMLType, m: int, dtype: Any, adjoint: bool) -> None:
    data, weights = finite_weights(type, 700, 3 if type.block == 256 else 25, 2)
    x = np.random.default_rng(3).standard_normal((m, 700 if adjoint else weights.shape[1])).astype(dtype)
    one = product(adjoint, data, x, type, threads=1)
    for threads in (2, 3, 8, 33):
        assert (product(adjoint, data, x, type, threads=threads) == one).all(), threads


def test_expanding_does_not_depend_on_threads() -> None:
    data = random_bytes(GGMLType.Q5_K, 3000, 1, 4)
    one = expand(GGMLType.Q5_K, data, threads=1)
    assert same_bits(expand(GGMLType.Q5_K, data, threads=5), one)


@pytest.mark.parametrize("adjoint", [False, True], ids=["apply", "adjoint"])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("m", [1, 2, 9, 50])
def test_rows_may_be_far_apart(m: int, dtype: Any, adjoint: bool) -> None:
    data, weights = finite_weights(GGMLType.Q8_0, 65, 3, 6)
    inner = 65 if adjoint else weights.shape[1]
    wide = np.full((m, inner + 29), np.nan, dtype)
    wide[:, 5 : 5 + inner] = np.random.default_rng(1).standard_normal((m, inner))
    view = wide[:, 5 : 5 + inner]
    strided = product(adjoint, data, view, GGMLType.Q8_0)
    assert (strided == product(adjoint, data, np.ascontiguousarray(view), GGMLType.Q8_0)).all()


def test_leading_dimensions_and_out_of_the_python_side() -> None:
    data, weights = finite_weights(GGMLType.Q4_0, 24, 2, 8)
    x = np.random.default_rng(1).standard_normal((2, 3, 64))
    expected = x @ weights.T
    np.testing.assert_allclose(native.matmul(GGMLType.Q4_0, data, x), expected, rtol=1e-12, atol=1e-12)
    out = np.empty((2, 3, 24))
    assert native.matmul(GGMLType.Q4_0, data, x, out) is out
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-12)
    # A transposed block is copied rather than refused.
    turned = np.asfortranarray(x[0])
    np.testing.assert_allclose(native.matmul(GGMLType.Q4_0, data, turned), expected[0], rtol=1e-12, atol=1e-12)
    vector = native.matmul_adjoint(GGMLType.Q4_0, data, np.ones(24, np.float32))
    assert vector.shape == (64,)
    np.testing.assert_allclose(vector, weights.sum(axis=0), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", FLOATS)
def test_empty_dimensions(dtype: Any) -> None:
    none = np.zeros((0, 34), np.uint8)
    assert native.matmul(GGMLType.Q8_0, none, np.ones((3, 32), dtype)).shape == (3, 0)
    assert (native.matmul_adjoint(GGMLType.Q8_0, none, np.ones((3, 0), dtype)) == np.zeros((3, 32))).all()
    empty = np.zeros((4, 0), np.uint8)
    assert (native.matmul(GGMLType.Q8_0, empty, np.ones((3, 0), dtype)) == np.zeros((3, 4))).all()
    assert native.matmul_adjoint(GGMLType.Q8_0, empty, np.ones((3, 4), dtype)).shape == (3, 0)
    some = random_bytes(GGMLType.Q8_0, 4, 1, 0)
    assert native.matmul(GGMLType.Q8_0, some, np.ones((0, 32), dtype)).shape == (0, 4)


# ---- threads


def test_concurrent_callers_get_the_same_bits() -> None:
    data, weights = finite_weights(GGMLType.Q4_K, 512, 2, 9)
    x = np.random.default_rng(1).standard_normal((64, weights.shape[1])).astype(np.float32)
    expected = native.matmul(GGMLType.Q4_K, data, x)
    wrong: list[int] = []

    def work() -> None:
        for i in range(20):
            if not (native.matmul(GGMLType.Q4_K, data, x) == expected).all():
                wrong.append(i)

    callers = [threading.Thread(target=work) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_child_can_multiply() -> None:
    data, weights = finite_weights(GGMLType.Q4_0, 512, 20, 9)
    x = np.random.default_rng(1).standard_normal((64, weights.shape[1]))
    expected = product(False, data, x, GGMLType.Q4_0, threads=2)
    child = os.fork()
    if child == 0:
        os._exit(0 if (product(False, data, x, GGMLType.Q4_0, threads=2) == expected).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (product(False, data, x, GGMLType.Q4_0, threads=2) == expected).all()


def test_info() -> None:
    info = _native.info()
    assert info["isa"] == info["runnable"][0]
    assert set(info["runnable"]) <= set(info["compiled"])
    assert "portable" in info["runnable"]
    assert info["threads"] >= 1


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("isa", RUNNABLE)
def test_peak_is_a_rate(isa: str, wide: bool) -> None:
    peak = _native.fma_peak(wide, 1, 0.01, isa)
    assert 0 < peak < math.inf  # how fast is the machine's business, and that of whatever else it does


# ---- mistakes of the caller

Q8 = GGMLType.Q8_0
DATA = np.zeros((4, 68), np.uint8)
X, OUT = np.zeros((3, 64), np.float32), np.zeros((3, 4), np.float32)
SHARED = np.zeros(3 * 64 + 12, np.float32)

MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "type": (lambda: _native.matmul(24, DATA, X, OUT), "ggml type 24"),
    "no such type": (lambda: _native.matmul(-1, DATA, X, OUT), "ggml type -1"),
    "data type": (lambda: _native.matmul(Q8, DATA.view(np.int8), X, OUT), "uint8"),
    "data dimensions": (lambda: _native.matmul(Q8, DATA[0], X, OUT), "uint8 array"),
    "data strides": (lambda: _native.matmul(Q8, np.zeros((4, 136), np.uint8)[:, ::2], X, OUT), "C-contiguous"),
    "data padding": (lambda: _native.matmul(Q8, np.zeros((4, 102), np.uint8)[:, :68], X, OUT), "C-contiguous"),
    "partial block": (lambda: _native.matmul(Q8, np.zeros((4, 67), np.uint8), X, OUT), "34-byte blocks"),
    "x columns": (lambda: _native.matmul(Q8, DATA, X[:, :32], OUT), r"\[m, 64\]"),
    "x dimensions": (lambda: _native.matmul(Q8, DATA, X[0], OUT), r"\[m, 64\]"),
    "x type": (lambda: _native.matmul(Q8, DATA, X.astype(np.float16), OUT), "float32 or float64"),
    "x strides": (lambda: _native.matmul(Q8, DATA, np.zeros((3, 128), np.float32)[:, ::2], OUT), "last dimension"),
    "x backwards": (lambda: _native.matmul(Q8, DATA, X[::-1], OUT), "overlap or run backwards"),
    "x repeated": (lambda: _native.matmul(Q8, DATA, np.broadcast_to(X[:1], (3, 64)), OUT), "overlap or run backwards"),
    "g columns": (lambda: _native.matmul_adjoint(Q8, DATA, X, OUT), r"g must be an array \[m, 4\]"),
    "out type": (lambda: _native.matmul(Q8, DATA, X, OUT.astype(np.float64)), "float32 array"),
    "out shape": (lambda: _native.matmul(Q8, DATA, X, OUT[:2].copy()), r"\[3, 4\]"),
    "out strides": (lambda: _native.matmul(Q8, DATA, X, np.zeros((4, 3), np.float32).T), "C-contiguous"),
    "out is x": (
        lambda: _native.matmul(Q8, DATA, SHARED[:192].reshape(3, 64), SHARED[8:20].reshape(3, 4)),
        "out overlaps x",
    ),
    "out is data": (
        lambda: _native.matmul(Q8, SHARED.view(np.uint8)[:272].reshape(4, 68), X, SHARED[:12].reshape(3, 4)),
        "out overlaps data",
    ),
    "alignment": (
        lambda: _native.matmul(Q8, DATA, np.zeros(769, np.uint8)[1:].view(np.float32).reshape(3, 64), OUT),
        "not aligned",
    ),
    "threads": (lambda: _native.matmul(Q8, DATA, X, OUT, None, -1), "threads"),
    "isa": (lambda: _native.matmul(Q8, DATA, X, OUT, None, 0, "mmx"), "isa 'mmx'"),
    "no codebook": (lambda: native_without_codebook(None), "codebook"),
    "short codebook": (lambda: native_without_codebook(np.zeros(2047, np.int8)), "2048"),
    "codebook type": (lambda: native_without_codebook(np.zeros(2048, np.float32)), "int8"),
    "codebook strides": (lambda: native_without_codebook(np.zeros(4096, np.int8)[::2]), "contiguous"),
    "python out": (lambda: native.matmul(Q8, DATA, X, np.zeros((3, 5), np.float32)), r"\[3, 4\]"),
    "python data": (lambda: native.dequantize(Q8, DATA[0]), "matrix"),
    "python scalar": (lambda: native.matmul(Q8, DATA, np.float32(1)), "no dimension"),
    "peak": (lambda: _native.fma_peak(False, 1, float("nan")), "seconds"),
}


def native_without_codebook(grid: NDArray[Any] | None) -> None:
    out = np.zeros((1, 256), np.float32)
    _native.dequantize(GGMLType.IQ2_XXS, np.zeros((1, 66), np.uint8), out, grid)


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_reported(name: str) -> None:
    call, message = MISTAKES[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_read_only_out_is_refused() -> None:
    out = np.zeros((3, 4), np.float32)
    out.flags.writeable = False
    with pytest.raises(TypeError):
        _native.matmul(Q8, DATA, X, out)
