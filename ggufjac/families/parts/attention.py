"""Self-attention: the probabilities are frozen; values, their mixing and the output projection stay live."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.families.parts.elementary import Linear
from ggufjac.families.parts.narrowing import kept
from ggufjac.families.parts.rope import Rope
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Mix, Operator, Scale, Sequential
from ggufjac.quants.memory.devices import widened


@dataclass(frozen=True)
class Temperature:
    """Queries are multiplied by 1 + scale log(1 + floor((position + offset) / step)): sharper attention in long
    contexts."""

    scale: float
    step: int
    offset: int = 0

    def factors(self, positions: Tensor) -> Tensor:
        """[T] float64."""
        return 1 + self.scale * (1 + torch.floor((positions.double() + self.offset) / self.step)).log()


@dataclass(frozen=True)
class Attention(Part):
    """Grouped-query attention.

    q and k give the queries and keys before RoPE, all heads side by side; q_norm and k_norm then act on every head
    ([..., T, n_head, d_head]), after RoPE instead of before it with `rope_first`. scale multiplies the scores, softcap
    limits the scaled ones to +-softcap. window: the number of positions a query sees, itself included (None: all
    before it). chunk: positions are cut into chunks of this size, and a query sees its own chunk alone. sinks [n_head]:
    a score per head that takes its share of the probability and gives nothing. alibi: the largest slope's exponent of
    the linear biases that take the place of rotations (0: none). gate: its frozen sigmoid multiplies what the heads
    read.
    """

    q: Part
    k: Part
    v: Part
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
    chunk: int | None = None
    rope_first: bool = False
    alibi: float = 0.0
    gate: Part | None = None

    mixes = True
    keeps = True

    @property
    def children(self) -> tuple[Part, ...]:
        parts = (self.q, self.k, self.v, self.out, self.q_norm, self.k_norm, self.gate)
        return tuple(part for part in parts if part is not None)

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        p = run.attended(x, lambda: self.probabilities(run, run.freeze(x)))
        values, v = self.v.build(run, x)
        keep, v = run.stored(v)
        mix = Mix(p, self.n_head_kv)
        y = mix.apply(v)
        operators = [values, keep, mix]
        if self.gate is not None:
            gate = Scale(self.gate.value(run, kept(run, x).apply(run.freeze(x))).sigmoid())
            y = gate.apply(y)
            operators.append(gate)
        out, y = self.out.build(run, y)
        return Sequential([*operators, out]), y

    def probabilities(self, run: Run, x: Tensor) -> Tensor:
        """P [..., n_head, Tq, T']: which of the positions that it can see every query reads, and how much."""
        q = self._heads(run, self.q, self.q_norm, kept(run, x).apply(x), self.n_head, run.rows)
        if self.temperature is not None:
            q = q * self._sharpness(run, self.temperature, q)
        k = run.all_keys(self.keys(run, x))
        k = k.repeat_interleave(self.n_head // k.shape[-2], -2)
        scores = torch.einsum("...qhd,...khd->...hqk", q, k) * self.scale
        if self.softcap:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        at, there = run.constant(
            ("positions", run.rows), x, lambda: (asked(run, run.rows).to(x.device), run.readable.to(x.device))
        )
        distance = at[:, None] - there[None, :]
        if self.alibi:
            far = widened(distance)
            slopes = alibi_slopes(self.n_head, self.alibi)[:, None, None].to(far)
            scores = scores - (slopes * far).to(scores)
        hidden = distance < 0
        if self.window is not None:
            hidden = hidden | (distance >= self.window)
        if self.chunk is not None:
            hidden = hidden | (at[:, None] // self.chunk != there[None, :] // self.chunk)
        scores = scores.masked_fill(hidden, -torch.inf)
        if self.sinks is None:
            return scores.softmax(-1)
        sinks = self.sinks.to(scores)[:, None, None].expand(*scores.shape[:-1], 1)
        return torch.cat((scores, sinks), -1).softmax(-1)[..., :-1]

    def keys(self, run: Run, x: Tensor) -> Tensor:
        """The keys of all positions [..., T, n_head_kv, d_head], normalised and rotated."""
        return self._heads(run, self.k, self.k_norm, x, self.n_head_kv, None)

    def _sharpness(self, run: Run, temperature: Temperature, q: Tensor) -> Tensor:
        """What the queries are multiplied by, [T, 1, 1]."""
        (factors,) = run.constant(
            (temperature, run.rows), q, lambda: (temperature.factors(asked(run, run.rows))[:, None, None].to(q),)
        )
        return factors

    def _heads(
        self, run: Run, part: Part, norm: Part | None, x: Tensor, n: int, rows: tuple[int, ...] | None
    ) -> Tensor:
        heads = part.value(run, x).unflatten(-1, (n, -1))
        if norm is not None and not self.rope_first:
            heads = norm.value(run, heads)
        if self.rope is not None:
            heads = rotated(run, self.rope, heads, rows)
        return norm.value(run, heads) if norm is not None and self.rope_first else heads


def asked(run: Run, rows: tuple[int, ...] | None) -> Tensor:
    """The positions of some rows of the run, or of all."""
    return run.positions if rows is None else run.positions[list(rows)]


def rotated(run: Run, rope: Rope, heads: Tensor, rows: tuple[int, ...] | None) -> Tensor:
    """Heads [..., T, n_head, d_head] at these rows of the run; the angles are the same in all layers."""
    cos, sin = run.constant((rope, rows), heads, lambda: rope.turns(asked(run, rows), run.n_ctx, heads))
    return rope.rotate(heads, (cos, sin))


def alibi_slopes(n_head: int, max_bias: float) -> Tensor:
    """[n_head] float64: what a score loses per position between query and key (Press et al., arXiv 2108.12409).

    As in ggml's soft_max_ext: a geometric sequence down to 2^-max_bias for the first 2^k heads, the odd steps of one
    that is twice as fine for the others.
    """
    whole = 2 ** int(math.log2(n_head))
    first = [2 ** (-max_bias * (h + 1) / whole) for h in range(whole)]
    others = [2 ** (-max_bias / 2 * (2 * h + 1) / whole) for h in range(n_head - whole)]
    return torch.tensor(first + others, dtype=torch.float64)
