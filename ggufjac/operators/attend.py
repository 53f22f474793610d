"""Attention with its probabilities live: the derivative through values, and through softmax to queries and keys."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally


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
    that of whatever bends the scaled scores (None: nothing does). dP = P (ds - sum_j P ds).
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
    ) -> None:
        n_kv = k.shape[-2]
        self.queries = queries
        self.keys = keys
        self.values = values
        self.q = q.unflatten(-2, (n_kv, -1))  # [Tq, kv, group, d]
        self.k = k
        self.v = v
        self.p = p.unflatten(-3, (n_kv, -1))  # [kv, group, Tq, Tk]
        self.bend = scale if slope is None else scale * slope.unflatten(-3, (n_kv, -1))
        self.shares = shares

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        n_kv = self.k.shape[-2]
        dq = self.queries.apply(x, one).unflatten(-1, (n_kv, self.q.shape[-2], -1))
        dk, dv = (op.apply(x, one).unflatten(-1, (n_kv, -1)) for op in (self.keys, self.values))
        scores = torch.einsum("...qhgd,khd->...hgqk", dq, self.k) + torch.einsum("qhgd,...khd->...hgqk", self.q, dk)
        dp = self._softmax(scores * self.bend) * (self.shares.probabilities * self.shares.factors)
        through = torch.einsum("...hgqk,khd->...qhgd", dp, self.v)
        y = through + self.shares.values * torch.einsum("hgqk,...khd->...qhgd", self.p, dv)
        return y.flatten(-3)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        n_kv = self.k.shape[-2]
        read = g.unflatten(-1, (n_kv, self.q.shape[-2], -1))
        gv = self.shares.values * torch.einsum("hgqk,...qhgd->...khd", self.p, read)
        gp = torch.einsum("...qhgd,khd->...hgqk", read, self.v)
        scores = self._softmax(gp) * self.bend * (self.shares.probabilities * self.shares.factors)
        gq = torch.einsum("...hgqk,khd->...qhgd", scores, self.k)
        gk = torch.einsum("...hgqk,qhgd->...khd", scores, self.q)
        x = self.values.adjoint(gv.flatten(-2), tally)
        x = x + self.queries.adjoint(gq.flatten(-3), tally)
        return x + self.keys.adjoint(gk.flatten(-2), tally)

    def _softmax(self, s: Tensor) -> Tensor:
        """P (s - sum_j P s): softmax's derivative, its own transpose."""
        p: Tensor = self.p
        weighed = p * s
        return weighed - p * weighed.sum(-1, keepdim=True)

    @property
    def children(self) -> tuple[Operator, ...]:
        return (self.values, self.queries, self.keys)

    @property
    def inner_width(self) -> int:
        return math.prod((*self.p.shape[:-2], self.p.shape[-1]))
