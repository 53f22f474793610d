"""Sparse attention whose positions a small attention of its own chooses (DeepSeek-V3.2's lightning indexer)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ggufjac.families.parts.attention import asked, rotation
from ggufjac.families.parts.narrowing import kept
from ggufjac.families.parts.rope import Rope
from ggufjac.families.parts.run import Part, Run

#: Under which name the last choice is left for layers without an indexer.
CHOSEN = "positions chosen by the indexer"


def worth_of(q: Tensor, k: Tensor, weights: Tensor) -> Tensor:
    """sum_h weights_h relu(q_h . k) [..., Tq, S] of queries [..., Tq, H, n], keys [..., S, n], weights [..., Tq, H]."""
    worth = q.new_zeros(*q.shape[:-2], k.shape[-2])
    for h in range(q.shape[-2]):
        worth = worth + weights[..., h, None] * torch.einsum("...qd,...sd->...qs", q[..., h, :], k).clamp(min=0)
    return worth


def ended(run: Run, length: int, n: int, device: torch.device) -> Tensor:
    """[Tq, n] bool: which of the first n pieces of so many positions end at or before the rows that are asked for."""
    at, there = asked(run, run.rows).to(device), run.positions.to(device)
    return at[:, None] >= there[length - 1 :: length][:n]


def best_of(worth: Tensor, allowed: Tensor, top: int) -> Tensor:
    """[..., Tq, n] bool: the `top` that are worth most of those that are allowed [Tq, n]."""
    best = worth.masked_fill(~allowed, -torch.inf).topk(min(top, worth.shape[-1]), -1).indices
    return torch.zeros_like(worth, dtype=torch.bool).scatter(-1, best, True) & allowed


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
        worth = worth_of(q, k, self.weights.value(everywhere, read))
        seen = (asked(run, run.rows)[:, None] >= run.positions[None, :]).to(worth.device)
        worth = worth.masked_fill(~seen, -torch.inf)
        best = worth.topk(min(self.top, worth.shape[-1]), -1).indices
        found = torch.zeros_like(worth, dtype=torch.bool).scatter(-1, best, True)
        run.shared[CHOSEN] = found
        return found


@dataclass(frozen=True)
class PooledIndexer:
    """An indexer that compares queries with pools of `pool` positions that follow one another (GLM 5.3).

    The key of a pool is the mean of those of its positions, entry by entry with the softmax of gate(x) + place over
    them as weights; place [pool, n]. A query reads the positions of the top / pool best ones of the pools that end at
    or before it, and those behind the last of these. q, k, weights, n_head as an Indexer's; nothing is rotated.
    """

    q: Part
    k: Part
    gate: Part
    place: Tensor
    weights: Part
    n_head: int
    top: int

    def chosen(self, run: Run, x: Tensor) -> Tensor:
        """[..., Tq, T] bool, as the indexer's."""
        everywhere, x, pool = run.at(run.layer), x.detach(), self.place.shape[0]
        read, n_tokens = kept(run, x).apply(x), x.shape[-2]
        n_pools = n_tokens // pool
        q = self.q.value(everywhere, read).unflatten(-1, (self.n_head, -1))
        members, gates = (
            part.value(everywhere, x)[..., : n_pools * pool, :].unflatten(-2, (n_pools, pool))
            for part in (self.k, self.gate)
        )
        keys = ((gates + self.place.to(gates)).softmax(-2) * members).sum(-2)
        worth = worth_of(q, keys, self.weights.value(everywhere, read))
        found = best_of(worth, ended(run, pool, n_pools, x.device), self.top // pool)
        at, there = asked(run, run.rows).to(x.device), run.positions.to(x.device)
        whole = F.pad(found.repeat_interleave(pool, -1), (0, n_tokens - n_pools * pool))
        behind = (there <= at[:, None]) & (there > at[:, None] - (at[:, None] + 1) % pool)
        run.shared[CHOSEN] = whole | behind
        return whole | behind


@dataclass(frozen=True)
class EarlierChoice:
    """The positions that the last indexer before this layer has chosen."""

    def chosen(self, run: Run, x: Tensor) -> Tensor:
        """[..., Tq, T] bool, as the indexer's."""
        found = run.shared[CHOSEN]
        return found if run.rows is None else found[..., list(run.rows), :]
