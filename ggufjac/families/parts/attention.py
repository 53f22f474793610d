"""Self-attention: the probabilities are frozen; values, their mixing and the output projection stay live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.families.parts.elementary import Linear
from ggufjac.families.parts.rope import Rope
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Chain, Mix, Operator


@dataclass(frozen=True)
class Temperature:
    """Queries are multiplied by 1 + scale log(1 + floor(position / step)): sharper attention in long contexts."""

    scale: float
    step: int

    def factors(self, positions: Tensor) -> Tensor:
        """[T] float64."""
        return 1 + self.scale * (1 + torch.floor(positions.double() / self.step)).log()


@dataclass(frozen=True)
class Attention(Part):
    """Grouped-query attention.

    q and k give the queries and keys before RoPE, all heads side by side; q_norm and k_norm then act on every head
    ([..., T, n_head, d_head]). scale multiplies the scores, softcap limits the scaled ones to +-softcap. window: the
    number of positions a query sees, itself included (None: all before it). sinks [n_head]: a score per head that
    takes its share of the probability and gives nothing.
    """

    q: Part
    k: Part
    v: Linear
    out: Linear
    n_head: int
    n_head_kv: int
    scale: float
    rope: Rope | None
    window: int | None = None
    q_norm: Part | None = None
    k_norm: Part | None = None
    temperature: Temperature | None = None
    softcap: float = 0.0
    sinks: Tensor | None = None

    narrows = True

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        p = self.probabilities(run, run.freeze(x))
        op = Chain([self.v.operator(x), Mix(p, self.n_head_kv), self.out.operator(x)])
        return op, op.apply(x, 1.0)

    def probabilities(self, run: Run, x: Tensor) -> Tensor:
        """P [..., n_head, Tq, T]: which earlier position every query reads, and how much."""
        rows: Sequence[int] = range(x.shape[-2]) if run.rows is None else run.rows
        chosen = torch.as_tensor(list(rows), device=x.device)
        at = run.positions[chosen]
        q = self._heads(run, self.q, self.q_norm, x.index_select(-2, chosen), at, self.n_head)
        if self.temperature is not None:
            q = q * self.temperature.factors(at)[:, None, None].to(q)
        k = self._heads(run, self.k, self.k_norm, x, run.positions, self.n_head_kv)
        k = k.repeat_interleave(self.n_head // self.n_head_kv, -2)
        scores = torch.einsum("...qhd,...khd->...hqk", q, k) * self.scale
        if self.softcap:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        distance = at[:, None] - run.positions[None, :]
        hidden = distance < 0
        if self.window is not None:
            hidden = hidden | (distance >= self.window)
        scores = scores.masked_fill(hidden, -torch.inf)
        if self.sinks is None:
            return scores.softmax(-1)
        sinks = self.sinks.to(scores)[:, None, None].expand(*scores.shape[:-1], 1)
        return torch.cat((scores, sinks), -1).softmax(-1)[..., :-1]

    def _heads(self, run: Run, part: Part, norm: Part | None, x: Tensor, positions: Tensor, n: int) -> Tensor:
        heads = part.value(run, x).unflatten(-1, (n, -1))
        if norm is not None:
            heads = norm.value(run, heads)
        return heads if self.rope is None else self.rope.rotate(heads, positions, run.n_ctx)
