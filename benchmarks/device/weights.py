"""Random packed weights of every type whose numbers are finite and of moderate size, for products with them."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ggufjac.quants import native
from ggufjac.reader.types import INTEGERS, GGMLType

WEIGHTS = tuple(kind for kind in GGMLType if kind not in INTEGERS)
#: The types whose blocks are one number each.
FLOATS = {GGMLType.F32: np.float32, GGMLType.F16: np.float16, GGMLType.F64: np.float64}
#: Blocks of a type that matrices are made of: a prime number, so that long rows begin at different ones.
BLOCKS = 4093
DRAWN = 1 << 14
#: Weights larger than this, and blocks whose weights are all smaller than that, are drawn anew.
LARGEST, SMALLEST = 8.0, 1e-3


@cache
def blocks(kind: GGMLType) -> NDArray[np.uint8]:
    """[BLOCKS, block_bytes]: any bytes at all, as long as the numbers that they stand for are of moderate size."""
    random = np.random.default_rng(kind)
    if kind in FLOATS:
        return random.standard_normal(BLOCKS).astype(FLOATS[kind]).view(np.uint8).reshape(BLOCKS, -1)
    kept: list[NDArray[np.uint8]] = []
    while sum(map(len, kept)) < BLOCKS:
        drawn = random.integers(0, 256, (DRAWN, kind.block_bytes), np.uint8)
        with np.errstate(all="ignore"):
            largest = np.abs(native.dequantize(kind, drawn)).max(1)
        kept.append(drawn[(largest < LARGEST) & (largest > SMALLEST)])  # what is no number is neither
    return np.concatenate(kept)[:BLOCKS]


def matrix(kind: GGMLType, n_out: int, n_in: int, seed: int = 0) -> NDArray[np.uint8]:
    """A packed matrix [n_out, row_bytes]; n_in is cut to whole blocks by the caller."""
    n = n_out * n_in // kind.block
    start = int(np.random.default_rng([kind, seed]).integers(BLOCKS))
    pool = blocks(kind)
    whole, left = divmod(n, BLOCKS)
    rolled = np.concatenate((pool[start:], pool[:start]))
    return np.concatenate((np.tile(rolled, (whole, 1)), rolled[:left])).reshape(n_out, -1)
