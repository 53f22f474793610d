"""Attention with its probabilities live: the derivative through values, and through softmax to queries and keys."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally
from ggufjac.operators.causal import blocks, is_causal

#: Bytes that the scores of some heads, for all columns in hand, may take at once; a product holds a few of that size.
SCORES = 64 << 20


@dataclass(frozen=True)
class Shares:
    """How much of the derivative goes through the values, through the probabilities, and of these through queries and
    through keys."""

    values: float = 1.0
    probabilities: float = 1.0
    factors: float = 1.0


class Attend(Operator):
    """The derivative of o[i, h] = sum_j P[h, i, j] v[j], P = softmax of the scores scale <q_i, k_j>, at its base point.

    queries, keys, values: the operators that make them of what enters, each with its heads side by side; q [Tq, n_head,
    d], k [Tk, n_head_kv, d], v [Tk, n_head_kv, d_v]: what they gave; heads share keys and values of their group. p
    [n_head, Tq, Tk]: the probabilities, whose rows may sum to less than 1 where a sink takes a share. slope, like p:
    that of whatever bends the scaled scores (None: nothing does). dP = P (ds - sum_j P ds). before: how many of the Tk
    positions lie before the block's own; their keys and values stay as they are, and queries meet them.
    """

    def __init__(
        self,
        queries: Operator,
        keys: Operator,
        values: Operator,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        p: Tensor,
        scale: float,
        slope: Tensor | None = None,
        shares: Shares = Shares(),
        before: int = 0,
    ) -> None:
        n_kv = k.shape[-2]
        self.queries = queries
        self.keys = keys
        self.values = values
        self.q = q.unflatten(-2, (n_kv, -1))  # [Tq, kv, group, d]
        self.k = k
        self.v = v
        self.p = p.unflatten(-3, (n_kv, -1))  # [kv, group, Tq, Tk]
        self.scale = scale
        self.slope = None if slope is None else slope.unflatten(-3, (n_kv, -1))
        self.shares = shares
        self.before = before
        self.causal = is_causal(self.p[..., before:])

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        n_kv = self.k.shape[-2]
        dq = self.queries.apply(x, one).unflatten(-1, (n_kv, self.q.shape[-2], -1))
        dk, dv = (op.apply(x, one).unflatten(-1, (n_kv, -1)) for op in (self.keys, self.values))
        return torch.cat([self._forward(h, dq, dk, dv) for h in self._at_once(x)], -3).flatten(-3)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        n_kv = self.k.shape[-2]
        read = g.unflatten(-1, (n_kv, self.q.shape[-2], -1))
        pieces = [self._backward(h, read) for h in self._at_once(g)]
        gq, gk, gv = (torch.cat(found, dim) for found, dim in zip(zip(*pieces, strict=True), (-3, -2, -2), strict=True))
        x = self.values.adjoint(gv.flatten(-2), tally)
        x = x + self.queries.adjoint(gq.flatten(-3), tally)
        return x + self.keys.adjoint(gk.flatten(-2), tally)

    def _forward(self, h: slice, dq: Tensor, dk: Tensor, dv: Tensor) -> Tensor:
        """What heads h of keys and values give, [..., Tq, h, group, d_v]."""
        found = []
        for rows, own, n in self._blocks():
            p, k, v = self.p[h, :, rows, :n], self.k[:n, h], self.v[:n, h]
            scores = torch.einsum("...qhgd,khd->...hgqk", dq[..., rows, h, :, :], k)
            live = scores[..., self.before :]
            live += torch.einsum("qhgd,...khd->...hgqk", self.q[rows, h], dk[..., :own, h, :])
            if self.slope is not None:
                scores *= self.slope[h, :, rows, :n]
            y = self._scale * torch.einsum("...hgqk,khd->...qhgd", _softmax(p, scores), v)
            p = p[..., self.before :]
            found.append(y + self.shares.values * torch.einsum("hgqk,...khd->...qhgd", p, dv[..., :own, h, :]))
        return found[0] if len(found) == 1 else torch.cat(found, -4)

    def _backward(self, h: slice, read: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What heads h hand back to their queries [..., Tq, h, group, d], keys and values [..., Tk, h, d]."""
        queries = []
        keys, values = (read.new_zeros(*read.shape[:-4], *x[self.before :, h].shape) for x in (self.k, self.v))
        for rows, own, n in self._blocks():
            mine, p = read[..., rows, h, :, :], self.p[h, :, rows, :n]
            live = p[..., self.before :]
            values[..., :own, :, :] += self.shares.values * torch.einsum("hgqk,...qhgd->...khd", live, mine)
            gp = torch.einsum("...qhgd,khd->...hgqk", mine, self.v[:n, h])
            scores = _softmax(p, gp)
            if self.slope is not None:
                scores *= self.slope[h, :, rows, :n]
            queries.append(self._scale * torch.einsum("...hgqk,khd->...qhgd", scores, self.k[:n, h]))
            live = scores[..., self.before :]
            keys[..., :own, :, :] += self._scale * torch.einsum("...hgqk,qhgd->...khd", live, self.q[rows, h])
        return queries[0] if len(queries) == 1 else torch.cat(queries, -4), keys, values

    def _blocks(self) -> list[tuple[slice, int, int]]:
        """The rows of each block, and up to which of the block's own positions and of all they look."""
        found = blocks(self.p[..., self.before :], self.causal)
        return [(rows, own, own + self.before) for rows, own in found]

    @property
    def _scale(self) -> float:
        """Of the derivative by the scores, the share that counts included."""
        return self.scale * self.shares.probabilities * self.shares.factors

    def _at_once(self, x: Tensor) -> list[slice]:
        """Heads of keys and values, so many at once that the scores of all columns take no more than SCORES bytes."""
        n_kv, group, n_q, n_k = self.p.shape
        column = group * n_q * n_k * x.element_size()
        step = max(1, SCORES // max(1, column * math.prod(x.shape[:-2])))
        return [slice(start, start + step) for start in range(0, n_kv, step)]

    @property
    def children(self) -> tuple[Operator, ...]:
        return (self.values, self.queries, self.keys)

    @property
    def inner_width(self) -> int:
        return int(self.p.shape[1] * self.p.shape[3])


def _softmax(p: Tensor, s: Tensor) -> Tensor:
    """P (s - sum_j P s): softmax's derivative, its own transpose; s is overwritten."""
    weighed = s.mul_(p)
    return weighed.addcmul_(p, weighed.sum(-1, keepdim=True), value=-1)
