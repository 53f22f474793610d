"""Lightning attention: values are mixed by products of queries and keys that decay with the distance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.families.parts.elementary import Linear, multiplied
from ggufjac.families.parts.fallback import Differentiated
from ggufjac.families.parts.narrowing import kept
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Mix, Operator, Sequential
from ggufjac.operators.recurrence import decayed_mixing


@dataclass(frozen=True)
class LightningAttention(Differentiated):
    """y_t = sum_s exp(-decay (t - s)) (q_t . k_s) v_s of each head (Qin et al., arXiv 2401.04658), normalised over all
    heads at once and multiplied by sigmoid(gate(x)) before out.

    q, k, v: all heads side by side; decay [n_head].
    """

    q: Part
    k: Part
    v: Part
    decay: Tensor
    norm: Part
    gate: Part
    out: Linear

    mixes = True

    def detached(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        frozen, keep, n_head = run.freeze(x), kept(run, x), len(self.decay)
        project, v = self.v.build(run, x)
        q, k = (part.value(run, frozen).unflatten(-1, (n_head, -1)) for part in (self.q, self.k))
        m = decayed_mixing(-self.decay.to(x).expand(x.shape[-2], n_head), k, q)
        mix = Mix(keep.apply(m), n_head)
        normalise, y = self.norm.build(run, mix.apply(v))
        before, u = self.gate.build(run, keep.apply(x))
        read = Sequential([project, mix, normalise])
        gated, y = multiplied(run, (read, y), (Sequential([keep, before]), u), torch.sigmoid)
        out, y = self.out.build(run, y)
        return Sequential([gated, out]), y
