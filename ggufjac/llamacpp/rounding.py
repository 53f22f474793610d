"""How this build of llama.cpp rounds what enters a product, by the type of the product's weight.

Before it multiplies with quantised weights, the CPU backend rounds activations to 8 bits in blocks; before 16-bit
weights, to 16 bits. Which of two equally near numbers it takes depends on the instructions that it was built for, so
the rounding is asked of its own functions (ggml-cpu's type traits), and only the blocks are read here.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ggufjac.errors import UserError
from ggufjac.llamacpp.library import library
from ggufjac.llamacpp.tensors import Array

#: ggml-cpu.h's `ggml_from_float_t`: (x, y, how many).
_FROM_FLOAT: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
_F32: Final = 0
_F16: Final = 1
_Q8_0: Final = 8
_Q8_1: Final = 9
_Q8_K: Final = 15
_BF16: Final = 30
#: The blocks of ggml-common.h: d times q are the values; s is d times the sum of the block's q, as llama.cpp uses it.
_BLOCKS: Final[dict[int, tuple[int, Any]]] = {
    _F32: (1, np.dtype("f4")),
    _F16: (1, np.dtype("f2")),
    _BF16: (1, np.dtype("u2")),
    _Q8_0: (32, np.dtype([("d", "f2"), ("q", "i1", 32)])),
    _Q8_1: (32, np.dtype([("d", "f2"), ("s", "f2"), ("q", "i1", 32)])),
    _Q8_K: (256, np.dtype([("d", "f4"), ("q", "i1", 256), ("sums", "i2", 16)])),
}


class _Traits(ctypes.Structure):
    """ggml-cpu.h's `struct ggml_type_traits_cpu`."""

    _fields_ = [
        ("from_float", ctypes.c_void_p),
        ("vec_dot", ctypes.c_void_p),
        ("vec_dot_type", ctypes.c_int),
        ("nrows", ctypes.c_int64),
    ]


@dataclass(frozen=True)
class Rounded:
    """Rows as a product takes them. values [rows, n]. sums [rows, n / 32]: where the weight's minima are multiplied by
    a block's sum that is kept apart (Q4_1, Q5_1), that sum over the sum of the block's values; else None."""

    values: Array
    sums: Array | None = None


def round_rows(weight_type: int, x: Array) -> Rounded:
    """x [rows, n] as it is multiplied with weights of a type (a number of ggml's `enum ggml_type`).

    Raises UserError for a type that this build does not multiply with, or whose activations it keeps in unknown blocks.
    """
    kind, quantize = _rule(weight_type)
    if kind == _F32:
        return Rounded(x)
    size, block = _BLOCKS[kind]
    if x.shape[-1] % size:
        raise ValueError(f"rows of {x.shape[-1]} numbers are no whole blocks of {size}")
    rows = np.ascontiguousarray(x, np.float32)
    packed = np.zeros(rows.size // size, block)
    quantize(rows.ctypes.data, packed.ctypes.data, rows.size)
    if kind == _F16:
        return Rounded(packed.astype(np.float32).reshape(x.shape))
    if kind == _BF16:
        return Rounded((packed.astype(np.uint32) << 16).view(np.float32).reshape(x.shape))
    d, q = packed["d"].astype(np.float32), packed["q"].astype(np.float32)
    values = (d[:, None] * q).reshape(x.shape)
    if kind != _Q8_1:
        return Rounded(values)
    return Rounded(values, _ratio(packed["s"].astype(np.float32), d * q.sum(-1)).reshape(*x.shape[:-1], -1))


@functools.cache
def gelu_table() -> Array | None:
    """GELU of every float16, by its bits, as this build tabulated it [65536]; None where it keeps that to itself."""
    ggml = library().ggml
    try:
        ggml.ggml_cpu_init()
        table = (ctypes.c_uint16 * 65536).in_dll(ggml, "ggml_table_gelu_f16")
    except (AttributeError, ValueError):
        return None
    found: Array = np.array(table, np.uint16).view(np.float16).astype(np.float32)
    return found


def _ratio(a: Array, b: Array) -> Array:
    """a / b, 1 where both are 0."""
    return np.where(b == 0, np.float32(1), a / np.where(b == 0, np.float32(1), b)).astype(np.float32)


@functools.cache
def _rule(weight_type: int) -> tuple[int, Callable[[int, int, int], None]]:
    """The type to which activations are rounded, and the function that does it."""
    kind = _traits(weight_type).vec_dot_type
    known = kind in _BLOCKS and (_traits(weight_type).vec_dot or weight_type == _F32)
    if not known:
        ggml = library().ggml
        names = [ggml.ggml_type_name(number).decode() for number in (weight_type, kind)]
        raise UserError(
            f"llama.cpp multiplies weights of type {names[0]} with activations of type {names[1]}, which is not known"
        )
    function = _FROM_FLOAT(_traits(kind).from_float)
    return kind, function


def _traits(number: int) -> _Traits:
    try:
        function = library().ggml.ggml_get_type_traits_cpu
    except AttributeError as error:
        raise UserError(
            "this build of llama.cpp does not export ggml_get_type_traits_cpu, by which its rounding is known; "
            "install llama-cpp-python==0.3.36"
        ) from error
    function.restype, function.argtypes = ctypes.POINTER(_Traits), [ctypes.c_int]
    found: _Traits = function(number).contents
    return found
