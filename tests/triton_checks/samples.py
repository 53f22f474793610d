"""Packed weights of every format that has a kernel, and the launches that a product of them takes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ggufjac.quants.triton_kernels import launch
from ggufjac.quants.triton_kernels.formats import LAYOUTS
from ggufjac.quants.triton_kernels.launch import Card, Launch
from ggufjac.reader.types import GGMLType

TYPES = list(LAYOUTS)
#: Rows that fill no tile, and weights that fill none either but whole groups of every format.
ROWS, WEIGHTS = 37, 512


def packed(type: GGMLType, n_out: int = ROWS, n_in: int = WEIGHTS, below: int = 256) -> NDArray[np.uint8]:
    """Random blocks of bytes smaller than `below`; those below 60 make small positive halves of a block's scales."""
    rng = np.random.default_rng(int(type))
    if type == GGMLType.F32:
        return rng.standard_normal((n_out, n_in), dtype=np.float32).view(np.uint8)
    return rng.integers(0, below, (n_out, n_in // type.block * type.block_bytes), dtype=np.uint8)


def launches(type: GGMLType, card: Card, *, all: bool) -> Iterator[tuple[str, Launch]]:
    """Every kernel as a card launches it for a matrix of an 8B model; all: in every precision and size of tile."""
    n_out, n_in = 4096, 14336
    data = empty(n_out, n_in // type.block * type.block_bytes, dtype=torch.uint8)
    for dtype in (torch.float32, torch.float64, torch.bfloat16) if all else (torch.float32,):
        yield f"expand to {dtype}", launch.expansion(type, data, empty(n_out, n_in, dtype=dtype))
    high, low = (empty(n_out, n_in, dtype=torch.float16) for _ in range(2))
    yield "halves", launch.split(type, data, empty(1), high, low)
    yield "largest", launch.magnitude(type, data, n_in)[0]
    for dtype in (torch.float32, torch.bfloat16) if all else (torch.float32,):
        for rows in (1, 2, 4, 16, 32, 64) if all else (4, 32):
            x, g = empty(rows, n_in, dtype=dtype), empty(rows, n_out, dtype=dtype)
            yield f"apply to {rows} rows of {dtype}", launch.apply_parts(type, data, x, card)[0]
            yield f"adjoint of {rows} rows of {dtype}", launch.adjoint_parts(type, data, n_in, g, card)[0]


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")
