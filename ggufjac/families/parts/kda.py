"""Kimi delta attention as a mixer: gates, decays, keys and queries are frozen, the values stay live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.families.parts.elementary import Linear
from ggufjac.families.parts.fallback import Differentiated
from ggufjac.families.parts.narrowing import kept
from ggufjac.families.parts.run import Part, Run
from ggufjac.families.parts.statespace import ShortMemory
from ggufjac.operators import Mix, Operator, Scale, Sequential
from ggufjac.operators.wkv import wkv7_mixing


@dataclass(frozen=True)
class KimiDeltaAttention(Differentiated):
    """A gated delta rule whose states decay entry by entry (Kimi Linear, arXiv 2510.26692).

    Queries, keys and values each pass a short memory; queries and keys of a head are made 1 long. With the decays
    w = exp(log_decay(decay(x))) and strengths b = sigmoid(beta(x)) a head's state is
    S_t = (I - b k k^T) diag(w) S_{t-1} + b k v^T. What q / sqrt(d_head) reads is normalised per head with norm
    [d_head] and multiplied by sigmoid(gate(x)) before out. log_decay: from [..., T, n_head, d_head] to the same.
    """

    q: Part
    k: Part
    v: Part
    memories: tuple[ShortMemory, ShortMemory, ShortMemory]
    decay: Part
    log_decay: Callable[[Tensor], Tensor]
    beta: Part
    gate: Part
    norm: Tensor
    out: Linear
    n_head: int
    eps: float

    mixes = True

    def detached(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        frozen, keep, d_head = run.freeze(x), kept(run, x), self.norm.shape[0]
        of_q, of_k, of_v = self.memories
        project, v = self.v.build(run, x)
        remember, v = of_v.build(run, v)
        q, k = (self._unit(of.build(run, part.value(run, frozen))[1]) for part, of in ((self.q, of_q), (self.k, of_k)))
        w = self.log_decay(self._heads(self.decay.value(run, frozen))).exp()
        written = self.beta.value(run, frozen).sigmoid()[..., None] * k
        mix = Mix(keep.apply(wkv7_mixing(w, written, -w * k, written, q / d_head**0.5)), self.n_head)
        y = mix.apply(v)
        heads = self._heads(run.freeze(y, "norm"))
        s = torch.rsqrt(heads.square().mean(-1, keepdim=True) + self.eps) * self.norm.to(x)
        weigh = Scale(self.gate.value(run, keep.apply(frozen)).sigmoid() * s.flatten(-2))
        out, y = self.out.build(run, weigh.apply(y))
        return Sequential([project, remember, mix, weigh, out]), y

    def _heads(self, t: Tensor) -> Tensor:
        """[..., T, n_head d_head] -> [..., T, n_head, d_head]"""
        heads: Tensor = t.unflatten(-1, (self.n_head, -1))
        return heads

    def _unit(self, t: Tensor) -> Tensor:
        heads = self._heads(t)
        return heads * torch.rsqrt(heads.square().sum(-1, keepdim=True) + self.eps)
