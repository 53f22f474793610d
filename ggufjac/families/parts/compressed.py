"""Attention of positions and of blocks of them, with keys that are their own values (DeepSeek V4).

Formulas as in llama.cpp's deepseek4.cpp. DeepSeek's report calls it compressed sparse attention where an indexer
chooses blocks, and heavily compressed attention where blocks are long and all are read.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.families.parts.attention import Attention, rotation
from ggufjac.families.parts.compressor import Compressor
from ggufjac.families.parts.indexer import best_of, ended, worth_of
from ggufjac.families.parts.narrowing import kept
from ggufjac.families.parts.rope import Rope
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Heads, Operator, Rotate, Sequential, Whole


@dataclass(frozen=True)
class CompressedIndexer:
    """Block b is worth sum_h weights_h relu(q_h . k_b) to a query, which reads the `top` best of those that end at or
    before it; k_b: what a compressor of the indexer's own makes of the block.

    q, weights, n_head, and what is left out, as an `Indexer`'s.
    """

    q: Part
    blocks: Compressor
    weights: Part
    n_head: int
    top: int

    def chosen(self, run: Run, x: Tensor) -> Tensor:
        """[..., Tq, T // size] bool: which blocks the rows that are asked for read of this normalised state."""
        everywhere, x = run.at(run.layer), x.detach()
        read = kept(run, x).apply(x)
        q = self.q.value(everywhere, read).unflatten(-1, (self.n_head, -1))
        q = rotation(run, self.blocks.rope, q, run.rows).apply(q)
        k = self.blocks.value(everywhere, x)
        worth = worth_of(q, k, self.weights.value(everywhere, read))
        return best_of(worth, ended(run, self.blocks.size, k.shape[-2], x.device), self.top)


@dataclass(frozen=True, kw_only=True)
class CompressedAttention(Attention):
    """Attention whose k and v are one and the same `KeysAndBlocks`, rotations included; so what heads read is turned
    back by the query's position. The window is that of the positions; blocks that end at or before a query are seen at
    any distance, or those of them that the indexer chose.

    rope: the rotation of the queries, and of the positions' keys.
    """

    rope: Rope
    blocks: Compressor | None = None
    block_indexer: CompressedIndexer | None = None

    @property
    def resumes(self) -> bool:
        """What the next block will be made of is not kept of positions before."""
        return self.blocks is None and super().resumes

    def keys(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        return self.k.build(run, x)

    def _read(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op, y = super()._read(run, x)
        heads = y.unflatten(-1, (self.n_head, -1))
        turn = rotation(run, self.rope, heads, run.rows)
        back = Rotate(turn.cos, -turn.sin, turn.pairing, turn.offset)
        whole = op if self.blocks is None else Whole(op)
        return Sequential([whole, Heads(back, self.n_head)]), back.apply(heads).flatten(-2)

    def _scores(self, run: Run, x: Tensor, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor | None]:
        n = len(run.readable)
        scores, slope = super()._scores(run, x, q, k[..., :n, :])
        if self.blocks is None or k.shape[-2] == n:
            return scores, slope
        queries, blocks = q.unflatten(-1, (self.n_head, -1)), k[..., n:, :]
        of_blocks = torch.einsum("...qhd,...bd->...hqb", queries, blocks).mul_(self.scale)
        if self.block_indexer is None:
            seen = ended(run, self.blocks.size, blocks.shape[-2], x.device)
        else:
            seen = self.block_indexer.chosen(run, x)[..., None, :, :]
        return torch.cat((scores, of_blocks.masked_fill_(~seen, -torch.inf)), -1), None
