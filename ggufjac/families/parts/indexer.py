"""Sparse attention whose positions a small attention of its own chooses (DeepSeek-V3.2's lightning indexer)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.families.parts.attention import asked, rotation
from ggufjac.families.parts.narrowing import kept
from ggufjac.families.parts.rope import Rope
from ggufjac.families.parts.run import Part, Run

#: Under which name the last choice is left for layers without an indexer.
CHOSEN = "positions chosen by the indexer"


@dataclass(frozen=True)
class Indexer:
    """Position s is worth sum_h weights_h relu(q_h . k_s) to a query, whose `top` best positions it then reads.

    q gives the n_head queries [..., T, n_head n], k one key [..., T, n], which are rotated; weights [..., T, n_head].
    The choice is frozen under all rules, like that of experts. Positive factors change nothing and are left out, and so
    is llama.cpp's Hadamard transform of queries and keys, which keeps their products.
    """

    q: Part
    k: Part
    weights: Part
    n_head: int
    rope: Rope
    top: int

    def chosen(self, run: Run, x: Tensor) -> Tensor:
        """[..., Tq, T] bool: which positions the rows that are asked for read of this normalised state [..., T, d]."""
        everywhere, x = run.at(run.layer), x.detach()
        read = kept(run, x).apply(x)
        q = self.q.value(everywhere, read).unflatten(-1, (self.n_head, -1))
        k = self.k.value(everywhere, x).unflatten(-1, (1, -1))
        q = rotation(run, self.rope, q, run.rows).apply(q)
        k = rotation(run, self.rope, k, None).apply(k)[..., 0, :]
        weights, worth = self.weights.value(everywhere, read), q.new_zeros(*q.shape[:-2], k.shape[-2])
        for h in range(self.n_head):
            worth = worth + weights[..., h, None] * torch.einsum("...qd,...sd->...qs", q[..., h, :], k).clamp(min=0)
        seen = (asked(run, run.rows)[:, None] >= run.positions[None, :]).to(worth.device)
        worth = worth.masked_fill(~seen, -torch.inf)
        best = worth.topk(min(self.top, worth.shape[-1]), -1).indices
        found = torch.zeros_like(worth, dtype=torch.bool).scatter(-1, best, True)
        run.shared[CHOSEN] = found
        return found


@dataclass(frozen=True)
class EarlierChoice:
    """The positions that the last indexer before this layer has chosen."""

    def chosen(self, run: Run, x: Tensor) -> Tensor:
        """[..., Tq, T] bool, as the indexer's."""
        found = run.shared[CHOSEN]
        return found if run.rows is None else found[..., list(run.rows), :]
