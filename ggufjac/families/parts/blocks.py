"""Sparse attention on whole blocks of positions that a small attention of its own chooses (Qwen4's QSA).

As in llama.cpp's qwen4exp.cpp, and in the inputs that llama-memory-hybrid-idx.cpp makes for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.families.parts.attention import asked, rotation
from ggufjac.families.parts.indexer import worth_of
from ggufjac.families.parts.narrowing import kept
from ggufjac.families.parts.partialsort import partial_sorted
from ggufjac.families.parts.rope import Rope
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Rotate


@dataclass(frozen=True)
class BlockIndexer:
    """A block b of `block` positions that follow one another is worth sum_h relu(q_h . k_b) to a query.

    q gives the n_head queries [..., T, n_head n], k one key [..., T, n]. The key of a block is the mean of those of its
    positions. Queries and the blocks' keys are normalised, q_norm and k_norm, and rotated, rope and block_rope, a block
    as its first position is. A query reads what lies behind the last block that ends at or before it, and then of these
    blocks the best ones, until it reads top + block - 1 positions; the last one may so be cut (`partialsort`). The
    choice is frozen under all rules, like that of experts.
    """

    q: Part
    k: Part
    q_norm: Part
    k_norm: Part
    n_head: int
    rope: Rope
    block_rope: Rope
    block: int
    top: int

    def chosen(self, run: Run, x: Tensor) -> Tensor:
        """[..., Tq, T] bool: which positions the rows that are asked for read of this normalised state [..., T, d]."""
        at, there = asked(run, run.rows).to(x.device), run.positions.to(x.device)
        seen = at[:, None] >= there
        width = self.top + self.block - 1
        if x.shape[-2] <= width or x.is_meta:
            return seen
        worth = self._worth(run, x.detach()).repeat_interleave(self.block, -1)
        behind = there >= (at[:, None] + 1) // self.block * self.block
        scores = worth.new_full((*worth.shape[:-1], x.shape[-2]), torch.inf)
        scores[..., : worth.shape[-1]] = worth
        scores = scores.masked_fill(behind, torch.inf).masked_fill(~seen, -torch.inf)
        best = partial_sorted(scores.flatten(0, -2).cpu().numpy(), width)
        return torch.from_numpy(best).reshape(scores.shape).to(x.device) & seen

    def _worth(self, run: Run, x: Tensor) -> Tensor:
        """What every whole block is worth to the rows that are asked for, [..., Tq, T // block]."""
        everywhere, n_blocks = run.at(run.layer), x.shape[-2] // self.block
        q = self.q.value(everywhere, kept(run, x).apply(x)).unflatten(-1, (self.n_head, -1))
        q = self.q_norm.value(everywhere, q)
        q = rotation(run, self.rope, q, run.rows).apply(q)
        members = self.k.value(everywhere, x)[..., : n_blocks * self.block, :].unflatten(-2, (n_blocks, self.block))
        k = self.k_norm.value(everywhere, members.mean(-2))[..., None, :]
        starts, rope = run.positions[:: self.block][:n_blocks], self.block_rope
        turn = Rotate(*rope.turns(starts, run.n_ctx, k), rope.pairing, rope.offset)
        return worth_of(q, turn.apply(k)[..., 0, :], q.new_ones(*q.shape[:-1]))
