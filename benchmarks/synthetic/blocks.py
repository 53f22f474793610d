"""Random packed weights of every type, at the speed of copying: one pool of blocks per type, read round and round.

The bytes of a block are random, its scales are patched so that weights have a mean of zero and a given deviation. A
pool holds a prime number of blocks: rows of a matrix that is longer than the pool start at different blocks, so no two
are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ggufjac.errors import UserError
from ggufjac.quants import native
from ggufjac.reader.types import GGMLType as T

POOL_BYTES = 64 << 20


@dataclass(frozen=True)
class Fields:
    """Where a block keeps its float16 scale, and its minimum where it has one: `ratio` scales, the mean of its levels.

    With a minimum the mean of a block is 0; without one the scale gets a random sign, so that the blocks' means are.
    """

    scale: int
    minimum: int | None = None
    ratio: float = 0.0


FIELDS: dict[T, Fields] = {
    T.Q4_0: Fields(0),
    T.Q4_1: Fields(0, 2, -7.5),
    T.Q5_0: Fields(0),
    T.Q5_1: Fields(0, 2, -15.5),
    T.Q8_0: Fields(0),
    T.Q2_K: Fields(80, 82, 1.5),
    T.Q3_K: Fields(108),
    T.Q4_K: Fields(0, 2, 7.5),
    T.Q5_K: Fields(0, 2, 15.5),
    T.Q6_K: Fields(208),
    T.IQ4_NL: Fields(0),
    T.IQ4_XS: Fields(0),
}


class Pool:
    """Blocks of one type for matrices of up to n_weights. Raises UserError for a type that is not known here."""

    def __init__(self, type_: T, n_weights: int) -> None:
        self.type = type_
        self._random = np.random.default_rng(type_)
        n = _prime_below(max(64, min(POOL_BYTES // type_.block_bytes, n_weights // type_.block)))
        if type_ in _FLOATS:
            self._normal = self._random.standard_normal(n, dtype=np.float32)
            return
        if type_ not in FIELDS:
            raise UserError(
                f"no random weights of the type {type_.name}; there are {', '.join(t.name for t in FIELDS)}"
            )
        self._blocks = np.frombuffer(bytearray(self._random.bytes(n * type_.block_bytes)), np.uint8)
        self._blocks = self._blocks.reshape(n, type_.block_bytes)
        _tame(type_, self._blocks)
        self._signs = self._random.integers(0, 2, n, np.uint16) << 15
        self._set_scale(1.0)
        self._unit = float(native.dequantize(type_, self._blocks[: 1 << 12].reshape(1, -1)).std())

    def pieces(self, n_weights: int, deviation: float) -> Iterator[memoryview]:
        """The bytes of that many weights from a random block on; they hold until another deviation is asked for."""
        blocks = self._scaled(deviation)
        left = n_weights // self.type.block
        start = int(self._random.integers(len(blocks)))
        while left:
            taken = blocks[start : start + left]
            yield taken.reshape(-1).data
            left -= len(taken)
            start = 0

    def _scaled(self, deviation: float) -> NDArray[np.uint8]:
        if self.type in _FLOATS:
            values = _FLOATS[self.type](self._normal * np.float32(deviation))
            return values.view(np.uint8).reshape(len(values), -1)
        self._set_scale(deviation / self._unit)
        return self._blocks

    def _set_scale(self, scale: float) -> None:
        fields = FIELDS[self.type]
        bits = np.float16(scale).view(np.uint16)
        if fields.minimum is None:
            self._half(fields.scale)[:] = self._signs | bits
            return
        bits &= np.uint16(0xFFE0)  # five digits fewer than float16 has leave the scale's multiple exact
        self._half(fields.scale)[:] = bits
        self._half(fields.minimum)[:] = np.float16(bits.view(np.float16) * fields.ratio).view(np.uint16)

    def _half(self, offset: int) -> NDArray[np.uint16]:
        return self._blocks[:, offset : offset + 2].view(np.uint16)[:, 0]


def _tame(type_: T, blocks: NDArray[np.uint8]) -> None:
    """Give each minimum inside a block the number of its scale, and keep scales small enough for a float16 d."""
    if type_ == T.Q2_K:
        blocks[:, :16] = (blocks[:, :16] & 0x0F) * 0x11
    elif type_ in (T.Q4_K, T.Q5_K):  # six bits each; the upper two of every number are 0
        blocks[:, 4:8] &= 0x0F
        blocks[:, 8:12] = blocks[:, 4:8]
        blocks[:, 12:16] = (blocks[:, 12:16] & 0x0F) * 0x11
    elif type_ == T.Q6_K:
        scales = blocks[:, 192:208].view(np.int8)
        scales >>= 3


def _bf16(x: NDArray[np.float32]) -> NDArray[np.uint16]:
    return (x.view(np.uint32) >> 16).astype(np.uint16)


_FLOATS: dict[T, Callable[[NDArray[np.float32]], NDArray[Any]]] = {
    T.F32: lambda x: x,
    T.F16: lambda x: x.astype(np.float16),
    T.BF16: _bf16,
}


def _prime_below(n: int) -> int:
    while any(n % i == 0 for i in range(2, int(n**0.5) + 1)):
        n -= 1
    return n
