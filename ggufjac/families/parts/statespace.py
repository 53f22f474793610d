"""Selective state spaces: gates, decays, keys (B) and queries (C) are frozen, the values and their state stay live."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ggufjac.families.parts.elementary import Linear
from ggufjac.families.parts.fallback import Differentiated
from ggufjac.families.parts.interleave import interleaved
from ggufjac.families.parts.narrowing import kept
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Bias, Convolve, Mix, Operator, Parallel, Scale, Scan, Sequential
from ggufjac.operators.recurrence import decayed_mixing


@dataclass(frozen=True)
class ShortMemory:
    """silu(conv(x) + bias), what every selective state space does to its inputs first; kernel [n, K], bias [n].

    name: what the bias is called in the file.
    """

    kernel: Tensor
    bias: Tensor | None
    name: str = ""

    def rows(self, start: int, stop: int) -> ShortMemory:
        """The channels [start, stop) alone."""
        return replace(self, kernel=self.kernel[start:stop], bias=None if self.bias is None else self.bias[start:stop])

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        """The operator at x [..., T, n], its SiLU's ratio frozen, and its output."""
        operators: list[Operator] = [Convolve(self.kernel.to(x))]
        if self.bias is not None:
            operators.append(Bias(self.bias.to(x), self.name))
        before = Sequential(operators)
        u = before.apply(x, 1.0)
        ratio = Scale(torch.sigmoid(run.freeze(u, "activation")))
        return Sequential([before, ratio]), ratio.apply(u)


@dataclass(frozen=True)
class Mamba2Mixer(Differentiated):
    """Mamba 2's mixer (Dao and Gu, arXiv 2405.21060): heads that decay as a whole.

    projection gives z (the gate), v, B, C and dt, one below the other; v, B and C pass the short memory. With
    dt = softplus(dt + dt_bias), a head's state is S_t = exp(dt_t a) S_{t-1} + dt_t B_t v_t^T, it is read by C_t and v d
    is added; the result times silu(z) is normalised within each group (norm [n_group, n / n_group]) before out.
    a, d, dt_bias [n_head].
    """

    projection: Linear
    memory: ShortMemory
    a: Tensor
    d: Tensor
    dt_bias: Tensor
    norm: Tensor | None
    out: Linear
    n_inner: int
    n_group: int
    n_state: int
    eps: float

    mixes = True

    def detached(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        n, n_key = self.n_inner, self.n_group * self.n_state
        frozen, keep = run.freeze(x), kept(run, x)
        project, v = self.projection.rows(n, 2 * n).build(run, x)
        remember, v = self.memory.rows(0, n).build(run, v)
        keys = self.projection.rows(2 * n, 2 * n + 2 * n_key).value(run, frozen)
        b, c = self.memory.rows(n, n + 2 * n_key).build(run, keys)[1].split(n_key, -1)
        dt = self.projection.rows(2 * n + 2 * n_key, self.projection.weight.n_out).value(run, frozen)
        b, c = (t.unflatten(-1, (self.n_group, self.n_state)) for t in (b, c))
        mix = Mix(mixing(run, dt + self.dt_bias.to(x), self.a.to(x), self.d.to(x), b, c), self.a.shape[0])
        y = mix.apply(v)
        z = self.projection.rows(0, n).value(run, keep.apply(frozen))
        gate = F.silu(z)
        if self.norm is not None:
            gate = gate * self._scale(run.freeze(y * gate, "norm"))
        weigh = Scale(gate)
        out, y = self.out.build(run, weigh.apply(y))
        return Sequential([project, remember, mix, weigh, out]), run.value("mamba_out", y)

    def _scale(self, y: Tensor) -> Tensor:
        """What the norm multiplies y [..., T', n] by."""
        assert self.norm is not None
        grouped = y.unflatten(-1, (self.n_group, -1))
        s = torch.rsqrt(grouped.square().mean(-1, keepdim=True) + self.eps)
        return (s * self.norm.to(y)).flatten(-2)


@dataclass(frozen=True)
class Plamo2Mixer(Differentiated):
    """PLaMo 2's mixer: the heads of Mamba 2, whose coefficients are computed from the values as in Mamba.

    projection gives z and v of every head in turn; v passes the short memory. coefficients then gives B, C and dt from
    v, each with a norm; step turns dt into the heads' steps. y silu(z) goes to out. a, d [n_head].
    """

    projection: Linear
    memory: ShortMemory
    coefficients: Linear
    norms: tuple[Part, Part, Part]
    step: Linear
    a: Tensor
    d: Tensor
    out: Linear
    n_state: int

    mixes = True

    def detached(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        n_head = self.a.shape[0]
        frozen, period = run.freeze(x), self.projection.weight.n_out // n_head
        project, v = interleaved(self.projection, period // 2, period, period).build(run, x)
        remember, v = self.memory.build(run, v)
        found = self.coefficients.value(run, run.freeze(v))
        parts = found.split([self.n_state, self.n_state, found.shape[-1] - 2 * self.n_state], -1)
        b, c, dt = (norm.value(run, part) for norm, part in zip(self.norms, parts, strict=True))
        dt = self.step.value(run, dt)
        mix = Mix(mixing(run, dt, self.a.to(x), self.d.to(x), b[..., None, :], c[..., None, :]), n_head)
        z = interleaved(self.projection, 0, period // 2, period).value(run, kept(run, x).apply(frozen))
        weigh = Scale(F.silu(z))
        out, y = self.out.build(run, weigh.apply(mix.apply(v)))
        return Sequential([project, remember, mix, weigh, out]), run.value("mamba_out", y)


def mixing(run: Run, dt: Tensor, a: Tensor, d: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """[..., n_head, T', T]: what each position takes from the values of those before it, and from its own.

    dt [..., T, n_head] before its softplus; a, d [n_head]; b and c [..., T, n_group, n_state], shared within a group.
    """
    dt = F.softplus(dt)
    b, c = (t.repeat_interleave(dt.shape[-1] // t.shape[-2], -2) for t in (b, c))
    m = decayed_mixing(dt * a, b * dt[..., None], c)
    m = m + torch.diag_embed(d[:, None].expand(-1, m.shape[-1]))
    return m if run.rows is None else m.index_select(-2, torch.as_tensor(run.rows, device=m.device))


@dataclass(frozen=True)
class Mamba1Mixer(Differentiated):
    """Mamba's mixer (Gu and Dao, arXiv 2312.00752): every channel has a state of its own, whose entries all decay
    differently.

    projection gives v and z (the gate); v passes the short memory. coefficients then gives dt, B and C from v, each
    perhaps normalised (norms: a part for each), and step turns dt into the channels' steps, softplus(step(dt)). State
    and output are S_t = exp(step_t a) S_{t-1} + step_t v_t B_t, y_t = C_t . S_t + d v_t; y silu(z) goes to out.
    a [n, n_state], d [n].
    """

    projection: Linear
    memory: ShortMemory
    coefficients: Linear
    norms: tuple[Part, Part, Part] | None
    step: Linear
    a: Tensor
    d: Tensor
    out: Linear

    mixes = True

    def detached(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        n, n_state = self.a.shape
        keep = kept(run, x)
        project, v = self.projection.rows(0, n).build(run, x)
        remember, v = self.memory.build(run, v)
        found = self.coefficients.value(run, run.freeze(v))
        parts = found.split([found.shape[-1] - 2 * n_state, n_state, n_state], -1)
        if self.norms is not None:
            parts = tuple(norm.value(run, part) for norm, part in zip(self.norms, parts, strict=True))
        dt, b, c = parts
        dt = F.softplus(self.step.value(run, dt))
        scan = Sequential([Scale(dt), Scan(dt, self.a.to(x), b, c)])
        mix = Sequential([Parallel([scan, Scale(self.d.to(x))]), keep])
        z = self.projection.rows(n, 2 * n).value(run, keep.apply(run.freeze(x)))
        weigh = Scale(F.silu(z))
        out, y = self.out.build(run, weigh.apply(mix.apply(v)))
        return Sequential([project, remember, mix, weigh, out]), y
