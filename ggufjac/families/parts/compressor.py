"""Blocks of positions that follow one another, compressed to one vector each (DeepSeek V4).

Formulas as in llama.cpp's deepseek4.cpp, which has them from the code that DeepSeek published with its report.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.families.parts.attention import rotation
from ggufjac.families.parts.elementary import Linear
from ggufjac.families.parts.rope import Rope
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Behind, Heads, Operator, Parallel, Pool, Sequential
from ggufjac.operators.pool import windows


@dataclass(frozen=True)
class Compressor(Part):
    """One vector [n] for every whole block of `size` positions: norm(sum_j w_j * values(x_j)), rotated as the block's
    first position is.

    w_j: entry by entry the softmax over j of gate(x_j) + place_j, a coefficient. values and gate give `lanes` vectors
    side by side; with two of them j runs over the block before, whose positions give the first one, and over the
    block itself, whose positions give the second one. place [size, lanes n].
    """

    values: Linear
    gate: Linear
    place: Tensor
    lanes: int
    norm: Part
    rope: Rope

    @property
    def size(self) -> int:
        """How many positions a block has."""
        return self.place.shape[0]

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.values, self.gate, self.norm)

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        """[..., T, d] -> [..., T // size, n], which must be one block at least."""
        size, n_tokens = self.size, x.shape[-2]
        (values, v), (gate, u) = self.values.build(run, x), self.gate.build(run, run.freeze(x))
        w = self._windows(u + self._places(run, u), -torch.inf).softmax(-2)
        pool = Pool(w, size, n_tokens)
        y = pool.apply(v)
        op: Operator = Sequential([values, pool])
        if run.live("coefficients"):
            through = Pool(w * (self._windows(v, 0.0) - y[..., None, :]), size, n_tokens)
            op = Parallel([op, Sequential([gate, through])])
        norm, y = self.norm.build(run, y)
        turn, y = turned(run, self.rope, y, tuple(range(0, n_tokens - size + 1, size)))
        return Sequential([op, norm, turn]), y

    def _places(self, run: Run, like: Tensor) -> Tensor:
        """What is added to the gates of every position [T, lanes n]."""
        place, n_tokens = run.fitted(self.place, like), like.shape[-2]
        return place.repeat(-(-n_tokens // self.size), 1)[:n_tokens]

    def _windows(self, x: Tensor, before: float) -> Tensor:
        n_blocks = x.shape[-2] // self.size
        return windows(x[..., : n_blocks * self.size, :].unflatten(-2, (n_blocks, self.size)), self.lanes, before)


@dataclass(frozen=True)
class KeysAndBlocks(Part):
    """Vectors that are keys and values at once, with one head: kv(x) of every position, rotated, and behind them those
    of the blocks (None: there are none)."""

    kv: Part
    rope: Rope
    blocks: Compressor | None

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.kv,) if self.blocks is None else (self.kv, self.blocks)

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op, kv = self.kv.build(run, x)
        turn, kv = turned(run, self.rope, kv, None)
        op = Sequential([op, turn])
        if self.blocks is None or x.shape[-2] < self.blocks.size:
            return op, kv
        compress, blocks = self.blocks.build(run, x)
        return Behind([op, compress], [kv.shape[-2], blocks.shape[-2]]), torch.cat((kv, blocks), -2)


def turned(run: Run, rope: Rope, x: Tensor, rows: tuple[int, ...] | None) -> tuple[Operator, Tensor]:
    """x [..., T, n] rotated as one head at these rows of the run."""
    heads = x[..., None, :]
    turn = rotation(run, rope, heads, rows)
    return Heads(turn, 1), turn.apply(heads)[..., 0, :]
