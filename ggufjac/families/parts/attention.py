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
class Attention(Part):
    """Grouped-query attention.

    scale multiplies the scores; window is the number of positions a query sees, itself included (None: all before it);
    q_norm and k_norm act on every head ([..., T, n_head, d_head]).
    """

    q: Linear
    k: Linear
    v: Linear
    out: Linear
    n_head: int
    n_head_kv: int
    scale: float
    rope: Rope | None
    window: int | None = None
    q_norm: Part | None = None
    k_norm: Part | None = None

    narrows = True

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        p = self.probabilities(run, run.freeze(x))
        op = Chain([self.v.operator(x), Mix(p, self.n_head_kv), self.out.operator(x)])
        return op, op.apply(x, 1.0)

    def probabilities(self, run: Run, x: Tensor) -> Tensor:
        """P [..., n_head, Tq, T]: which earlier position every query reads, and how much."""
        rows: Sequence[int] = range(x.shape[-2]) if run.rows is None else run.rows
        chosen = torch.as_tensor(list(rows), device=x.device)
        q = self._heads(run, self.q, self.q_norm, x.index_select(-2, chosen), run.positions[chosen], self.n_head)
        k = self._heads(run, self.k, self.k_norm, x, run.positions, self.n_head_kv)
        k = k.repeat_interleave(self.n_head // self.n_head_kv, -2)
        scores = torch.einsum("...qhd,...khd->...hqk", q, k) * self.scale
        distance = run.positions[chosen][:, None] - run.positions[None, :]
        hidden = distance < 0
        if self.window is not None:
            hidden = hidden | (distance >= self.window)
        return scores.masked_fill(hidden, -torch.inf).softmax(-1)

    def _heads(self, run: Run, part: Linear, norm: Part | None, x: Tensor, positions: Tensor, n: int) -> Tensor:
        heads = part.value(run, x).unflatten(-1, (n, -1))
        if norm is not None:
            heads = norm.value(run, heads)
        return heads if self.rope is None else self.rope.rotate(heads, positions)
