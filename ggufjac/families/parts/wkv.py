"""RWKV's mixers: decays, keys, receptances and gates are frozen, the values and the state they feed stay live."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ggufjac.families.parts.elementary import Linear
from ggufjac.families.parts.fallback import Differentiated
from ggufjac.families.parts.narrowing import kept
from ggufjac.families.parts.run import Part, Run
from ggufjac.families.parts.tokenshift import LowRank
from ggufjac.operators import Mix, Operator, Parallel, Scale, Sequential
from ggufjac.operators.wkv import gla_mixing, wkv6_mixing, wkv7_mixing

#: -1 / sqrt(exp(1)) with the digits that llama.cpp has: no entry of a state loses more than this at once.
DECAY = -0.606531


@dataclass(frozen=True, kw_only=True)
class TimeMix6(Differentiated):
    """RWKV 6's mixer (Peng et al., arXiv 2404.05892): heads whose keys decay entry by entry, w = exp(-exp(decay(x))).

    With bonus [n_head, d_head] a position sees its own values through it and those before it through the state; what
    a head reads is normalised and gated by silu(gate(x)). Without, as in QRWKV 6, its own values enter the state
    first, keys are multiplied by 1 - w, what is read is divided by sqrt(d_head), and the gate is sigmoid(gate(x)).
    k and v may have fewer heads, which then follow one another for the heads that share them.
    """

    r: Part
    k: Part
    v: Part
    decay: LowRank
    gate: Part
    bonus: Tensor | None
    norm: Part | None
    out: Linear
    d_head: int

    mixes = True

    def detached(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        everywhere, frozen, keep = run.at(run.layer), run.freeze(x), kept(run, x)
        project, v = self.v.build(everywhere, x)
        w = _heads(torch.exp(-self.decay.value(everywhere, frozen).exp()), self.d_head)
        r, k = (_heads(part.value(everywhere, frozen), self.d_head) for part in (self.r, self.k))
        n_head_kv = k.shape[-2]
        k = k.repeat_interleave(r.shape[-2] // n_head_kv, -2)
        gate = self.gate.value(run, frozen)
        if self.bonus is None:
            m = gla_mixing(w, k * (1 - w), r / self.d_head**0.5)
            weigh = Scale(gate.sigmoid())
        else:
            m = wkv6_mixing(w, k, r, self.bonus.to(x))
            weigh = Scale(F.silu(gate))
        read, y = _read(run, Mix(keep.apply(m), n_head_kv), self.norm, v)
        out, y = self.out.build(run, weigh.apply(y))
        return Sequential([project, read, weigh, out]), y


@dataclass(frozen=True)
class ValueResidual:
    """A layer's own values, and how far they are drawn towards those of the first layer: sigmoid(strength(x))."""

    values: Part
    strength: LowRank


@dataclass(frozen=True, kw_only=True)
class TimeMix7(Differentiated):
    """RWKV 7's mixer (Peng et al., arXiv 2503.14456), of a state that carries the first layer's values beside x.

    norm takes the normalised x from the state, first the first layer's values; own: those of this layer, if it is not
    the first. With a = sigmoid(rate(x)) and e = k k_k, of every head made 1 long, the state forgets and takes in by
    S_t = diag(w) S_{t-1} - (a e) (S_{t-1}^T e)^T + k' v^T, where w = exp(-sigmoid(decay(x)) / sqrt(exp(1))) and
    k' = k (1 + k_a (a - 1)). What a head reads with r is perhaps normalised; (r . r_k k') v is added and all of it is
    multiplied by gate(x), where there is one. k_k, k_a, r_k [n_head d_head].
    """

    norm: Part
    first: Part
    own: ValueResidual | None
    r: Part
    k: Part
    decay: LowRank
    rate: LowRank
    gate: LowRank | None
    k_k: Tensor
    k_a: Tensor
    r_k: Tensor
    head_norm: Part | None
    out: Linear
    d_head: int

    mixes = True

    def detached(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        everywhere, keep = run.at(run.layer), kept(run, x)
        normalise, n = self.norm.build(everywhere, x)
        frozen = run.freeze(n)
        values, v = self._values(everywhere, x, normalise, n)
        r, k = self.r.value(everywhere, frozen), self.k.value(everywhere, frozen)
        rate = self.rate.value(everywhere, frozen).sigmoid()
        erased = F.normalize(self._heads(k * self.k_k.to(x)), dim=-1, eps=1e-12)
        k = k * (1 + self.k_a.to(x) * (rate - 1))
        w = torch.exp(DECAY * self._heads(self.decay.value(everywhere, frozen).sigmoid()))
        m = wkv7_mixing(w, self._heads(k), -erased, erased * self._heads(rate), self._heads(r))
        read, y = _read(run, Mix(keep.apply(m), m.shape[-3]), self.head_norm, v)
        direct = self._heads(r * self.r_k.to(x) * k).sum(-1).repeat_interleave(self.d_head, -1)
        past = Sequential([keep, Scale(keep.apply(direct))])
        y = y + past.apply(v)
        operators: list[Operator] = [values, Parallel([read, past])]
        if self.gate is not None:
            weigh = Scale(self.gate.value(run, frozen))
            operators.append(weigh)
            y = weigh.apply(y)
        out, y = self.out.build(run, y)
        return Sequential([*operators, out]), y

    def _values(self, run: Run, x: Tensor, normalise: Operator, n: Tensor) -> tuple[Operator, Tensor]:
        """The values that enter the state, from x [..., T, 2 d], whose normalised first half is n."""
        lane, first = self.first.build(run, x)
        if self.own is None:
            return lane, first
        project, v = self.own.values.build(run, n)
        s = self.own.strength.value(run, run.freeze(n)).sigmoid()
        towards, stay = Scale(s), Scale(1 - s)
        op = Parallel([Sequential([normalise, project, stay]), Sequential([lane, towards])])
        return op, stay.apply(v) + towards.apply(first)

    def _heads(self, t: Tensor) -> Tensor:
        return _heads(t, self.d_head)


def _heads(t: Tensor, d_head: int) -> Tensor:
    """[..., T, n_head d_head] -> [..., T, n_head, d_head]"""
    heads: Tensor = t.unflatten(-1, (-1, d_head))
    return heads


def _read(run: Run, mix: Mix, norm: Part | None, v: Tensor) -> tuple[Operator, Tensor]:
    """The mixing of the values v, and the norm of what is read where there is one."""
    y = mix.apply(v)
    if norm is None:
        return mix, y
    op, y = norm.build(run, y)
    return Sequential([mix, op]), y
