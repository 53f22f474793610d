"""The gated delta rule as a mixer: gates, decays, keys and queries are frozen, the values stay live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ggufjac.families.parts.elementary import Linear
from ggufjac.families.parts.fallback import Differentiated
from ggufjac.families.parts.narrowing import kept
from ggufjac.families.parts.run import Part, Run
from ggufjac.families.parts.statespace import ShortMemory
from ggufjac.operators import Mix, Operator, Scale, Sequential
from ggufjac.operators.recurrence import delta_mixing


@dataclass(frozen=True)
class GatedDeltaNet(Differentiated):
    """Gated delta net (Yang et al., arXiv 2412.06464) as in Qwen3-Next.

    qk gives queries, then keys, and v values; they pass the short memory; queries and keys are then normalised to
    length 1 and shared among the heads of the values: those of one key follow one another, or, with `tiled`, lie
    n_key_head apart. The state decays by exp(softplus(alpha + dt_bias) a) and takes in sigmoid(beta) of what it did not
    know. What a head reads is normalised with norm [d_head], then multiplied by what `gating` makes of z. a, dt_bias
    [n_head].
    """

    qk: Part
    v: Part
    memory: ShortMemory
    z: Part
    alpha: Part
    beta: Part
    a: Tensor
    dt_bias: Tensor
    norm: Tensor
    out: Linear
    n_key_head: int
    d_head: int
    eps: float
    tiled: bool
    gating: Callable[[Tensor], Tensor] = F.silu

    mixes = True

    def detached(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        n_key, n_all = self.n_key_head * self.d_head, self.memory.kernel.shape[0]
        frozen, keep = run.freeze(x), kept(run, x)
        project, v = self.v.build(run, x)
        remember, v = self.memory.rows(2 * n_key, n_all).build(run, v)
        qk = self.qk.value(run, frozen)
        q, k = (self._heads(t) for t in self.memory.rows(0, 2 * n_key).build(run, qk)[1].split(n_key, -1))
        log_a = F.softplus(self.alpha.value(run, frozen) + self.dt_bias.to(x)) * self.a.to(x)
        m = delta_mixing(log_a, self.beta.value(run, frozen).sigmoid(), k, q / self.d_head**0.5)
        mix = Mix(
            m if run.rows is None else m.index_select(-2, torch.as_tensor(run.rows, device=m.device)), self.a.shape[0]
        )
        y = mix.apply(v)
        gate = self.gating(self.z.value(run, keep.apply(frozen)))
        heads = run.freeze(y, "norm").unflatten(-1, (-1, self.d_head))
        s = torch.rsqrt(heads.square().mean(-1, keepdim=True) + self.eps) * self.norm.to(x)
        weigh = Scale(gate * s.flatten(-2))
        out, y = self.out.build(run, weigh.apply(y))
        return Sequential([project, remember, mix, weigh, out]), y

    def _heads(self, t: Tensor) -> Tensor:
        """Queries or keys for the heads of the values: [..., T, n_key] -> [..., T, n_head, d_head]."""
        heads: Tensor = t.unflatten(-1, (self.n_key_head, self.d_head))
        heads = heads * torch.rsqrt(heads.square().sum(-1, keepdim=True) + self.eps)
        times = self.a.shape[0] // self.n_key_head
        if self.tiled:
            return torch.cat([heads] * times, -2)
        return torch.repeat_interleave(heads, times, -2)
