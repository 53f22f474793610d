"""The C++ kernels on NumPy arrays: expanding packed weights, and products with them.

`data` is a packed matrix W of shape [rows, cols] as a C-contiguous uint8 array [rows, cols / block * block_bytes], for
example a view into a memory-mapped file. Products take float32 or float64 blocks of any number of leading columns and
give the same type; on float64 the weights are the exact float32 values widened, and nothing else is rounded to float32.

The kernels are compiled for several instruction sets, and the best that the processor can run is taken. In the
environment, `GGUFJAC_ISA=portable` (or another of `_native.info()["runnable"]`) takes that one instead: for tests, and
to find out whether a bug is one of the kernels. Expanded weights have the same bits with each; products are summed in
another order, so their last digits differ.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ggufjac import _native
from ggufjac.errors import UserError
from ggufjac.reader.types import GGMLType

#: Types whose blocks are indices into a codebook.
CODEBOOKS = frozenset(
    {
        GGMLType.IQ1_S,
        GGMLType.IQ1_M,
        GGMLType.IQ2_XXS,
        GGMLType.IQ2_XS,
        GGMLType.IQ2_S,
        GGMLType.IQ3_XXS,
        GGMLType.IQ3_S,
    }
)


#: The environment's variable that chooses the instruction set.
VARIABLE = "GGUFJAC_ISA"


def isa() -> str:
    """The instruction set that the kernels use: the environment's choice, or the best.

    Raises UserError where the environment names one that cannot run here.
    """
    return _checked(os.environ.get(VARIABLE, ""))


@cache
def _checked(name: str) -> str:
    info = _native.info()
    if not name:
        return info["isa"]
    if name not in info["runnable"]:
        why = "this processor cannot run it" if name in info["compiled"] else "this build has no such instruction set"
        raise UserError(f"{VARIABLE} is {name!r}, but {why}; what works here: {', '.join(info['runnable'])}")
    return name


@cache
def codebook(type: GGMLType) -> NDArray[np.int8] | None:
    """The codebook of a type, flattened, as the gguf package has it; None for a type without one."""
    if type not in CODEBOOKS:
        return None
    import gguf.quants

    source = getattr(gguf.quants, type.name)
    source.init_grid()
    return np.ascontiguousarray(source.grid, dtype=np.int8).reshape(-1)


def dequantize(type: GGMLType, data: NDArray[np.uint8]) -> NDArray[np.float32]:
    """W as float32 [rows, cols], bit for bit what `gguf.quants.dequantize` gives.

    Raises ValueError when `data` is no C-contiguous uint8 matrix of whole blocks.
    """
    data = _matrix(data)
    out = np.empty((data.shape[0], _cols(type, data)), dtype=np.float32)
    _native.dequantize(type, data, out, codebook(type), isa=isa())
    return out


def matmul(
    type: GGMLType, data: NDArray[np.uint8], x: NDArray[Any], out: NDArray[Any] | None = None, threads: int = 0
) -> NDArray[Any]:
    """x @ W.T: x is [..., cols], the result [..., rows] of the same type (float32 or float64).

    Raises ValueError when shapes or types do not fit.
    """
    data = _matrix(data)
    return _product(_native.matmul, type, data, x, data.shape[0], out, threads)


def matmul_adjoint(
    type: GGMLType, data: NDArray[np.uint8], g: NDArray[Any], out: NDArray[Any] | None = None, threads: int = 0
) -> NDArray[Any]:
    """g @ W: g is [..., rows], the result [..., cols] of the same type (float32 or float64).

    Raises ValueError when shapes or types do not fit.
    """
    data = _matrix(data)
    return _product(_native.matmul_adjoint, type, data, g, _cols(type, data), out, threads)


def _matrix(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if data.ndim != 2:
        raise ValueError(f"packed weights must be a matrix [rows, row_bytes], not {data.ndim}-dimensional")
    return data


def _cols(type: GGMLType, data: NDArray[np.uint8]) -> int:
    return int(data.shape[1]) // type.block_bytes * type.block


def _product(
    kernel: Any,
    type: GGMLType,
    data: NDArray[np.uint8],
    x: NDArray[Any],
    outer: int,
    out: NDArray[Any] | None,
    threads: int,
) -> NDArray[Any]:
    if x.ndim == 0:
        raise ValueError("the block to multiply has no dimension")
    shape = (*x.shape[:-1], outer)
    if out is None:
        out = np.empty(shape, dtype=x.dtype)
    elif out.shape != shape or not out.flags.c_contiguous:
        raise ValueError(f"out must be C-contiguous of shape {list(shape)}, not {list(out.shape)}")
    if x.ndim != 2:
        x = x.reshape(-1, x.shape[-1]) if x.shape[-1] else x.reshape(int(np.prod(x.shape[:-1])), 0)
    if (x.shape[1] > 1 and x.strides[1] != x.itemsize) or not x.flags.aligned:
        x = np.ascontiguousarray(x)
    kernel(type, data, x, out.reshape(x.shape[0], outer), codebook(type), threads, isa())
    return out
