"""Self-attention: values, their mixing and the output projection are live, the probabilities as the rules say."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ggufjac.families.parts.elementary import multiplied
from ggufjac.families.parts.narrowing import kept
from ggufjac.families.parts.rope import Rope
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Attend, Heads, Identity, Mix, Operator, Rotate, Scale, Sequential, Shares
from ggufjac.quants.memory.devices import widened
from ggufjac.rules import Attention as Rule

#: How much of the derivative goes which way. In AttnLRP two factors of a product have half of it each (Achtibat et al.,
#: arXiv 2402.05602, written as modified gradients).
SHARES: dict[Rule, Shares] = {
    "values": Shares(1, 0, 0),
    "lrp": Shares(0.5, 0.5, 0.5),
    "tangent": Shares(1, 1, 1),
}
#: Bytes of scores from which on heads take their softmax one after the other, so that none needs all of them twice.
SCORES = 64 << 20


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


class Chooser(Protocol):
    """What chooses the positions that queries read, where they do not read all that they can see."""

    def chosen(self, run: Run, x: Tensor) -> Tensor:
        """[..., Tq, T] bool: which positions the rows that are asked for read of this normalised state [..., T, d]."""


class QKNorm(Part):
    """A norm of queries or keys, which has a rule of its own."""

    def __init__(self, norm: Part) -> None:
        self.norm = norm

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.norm,)

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        rules = run.rules
        own = run if rules.norm == rules.qk_norm else replace(run, rules=replace(rules, norm=rules.qk_norm))
        return self.norm.build(own, x)


@dataclass(frozen=True)
class Attention(Part):
    """Grouped-query attention.

    q and k give the queries and keys before RoPE, all heads side by side; q_norm and k_norm then act on every head
    ([..., T, n_head, d_head]), after RoPE instead of before it with `rope_first`. scale multiplies the scores, softcap
    limits the scaled ones to +-softcap. window: the number of positions a query sees, itself included (None: all
    before it). chunk: positions are cut into chunks of this size, and a query sees its own chunk alone. sinks [n_head]:
    a score per head that takes its share of the probability and gives nothing. alibi: the largest slope's exponent of
    the linear biases that take the place of rotations (0: none). gate: what `gating` makes of it, a coefficient,
    multiplies what the heads read. indexer: what chooses the positions that a query reads.
    """

    q: Part
    k: Part
    v: Part
    out: Part
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
    gating: Callable[[Tensor], Tensor] = torch.sigmoid
    indexer: Chooser | None = None

    mixes = True
    keeps = True

    @property
    def children(self) -> tuple[Part, ...]:
        parts = (self.q, self.k, self.v, self.out, self.q_norm, self.k_norm, self.gate)
        return tuple(part for part in parts if part is not None)

    @property
    def resumes(self) -> bool:
        """What an indexer compares queries with is not kept of positions before."""
        return self.indexer is None and super().resumes

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        read, y = self._read(run, x)
        if self.gate is not None:
            keep = kept(run, x)
            before, u = self.gate.build(run.narrowed(), keep.apply(x))
            read, y = multiplied(run, (read, y), (Sequential([keep, before]), u), self.gating)
        out, y = self.out.build(run.narrowed(), y)
        return Sequential([read, out]), y

    def _read(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        """What the heads read, side by side."""
        op, y = self._live(run, x) if run.live("attention") else self._frozen(run, x)
        return op, run.mixed(y, self.n_head)

    def _frozen(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        """The values that are live, mixed as the probabilities say."""
        shares = SHARES[run.rules.attention]
        p = run.attended(x, lambda: self.probabilities(run, run.freeze(x, "attention")))
        values, v = self.v.build(run, x)
        keep, v = run.stored(v)
        mix = Mix(run.share(p, shares.probabilities), self.n_head_kv)
        return Sequential([values, keep, mix]), mix.apply(run.share(v, shares.values))

    def _live(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        """Values and probabilities with their derivatives."""
        (queries, q), (keys, k) = self._queries(run, x), self.keys(run, x)
        everywhere, k = run.all_keys(k)
        scores, slope = self._scores(run, x, q, k)
        p = self._softmax(scores)
        values, v = self.v.build(run, x)
        keep, v = run.stored(v)
        op = Attend(
            queries,
            Sequential([keys, everywhere]),
            Sequential([values, keep]),
            q.unflatten(-1, (self.n_head, -1)),
            k.unflatten(-1, (self.n_head_kv, -1)),
            v.unflatten(-1, (self.n_head_kv, -1)),
            p,
            self.scale,
            slope,
            SHARES[run.rules.attention],
        )
        return op, Mix(p, self.n_head_kv).apply(v)

    def probabilities(self, run: Run, x: Tensor) -> Tensor:
        """P [..., n_head, Tq, T']: which of the positions that it can see every query reads, and how much."""
        share = SHARES[run.rules.attention].factors
        q = run.share(self._queries(run, x)[1], share)
        k = run.share(self.keys(run, x)[1], share)
        return self._softmax(self._scores(run, x, q, run.all_keys(k)[1])[0])

    def _scores(self, run: Run, x: Tensor, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor | None]:
        """The scores of queries [..., Tq, n] and keys [..., T', n], -inf where a query does not see; and the slope of
        what limits them, where something does."""
        q, k = q.unflatten(-1, (self.n_head, -1)), k.unflatten(-1, (self.n_head_kv, -1))
        k = k.repeat_interleave(self.n_head // self.n_head_kv, -2)
        scores = torch.einsum("...qhd,...khd->...hqk", q, k).mul_(self.scale)
        slope = None
        if self.softcap:
            bent = torch.tanh(scores / self.softcap)
            scores, slope = self.softcap * bent, 1 - bent.square()
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
        if self.indexer is not None:
            hidden = (hidden | ~self.indexer.chosen(run, x))[..., None, :, :]
        return scores.masked_fill_(hidden, -torch.inf), slope

    def _softmax(self, scores: Tensor) -> Tensor:
        """The probabilities; where they are large, head by head in the place of the scores."""
        sinks = None if self.sinks is None else self.sinks.to(scores)[:, None, None]
        if scores.is_meta or scores.numel() * scores.element_size() <= SCORES:
            return _shared(scores, sinks)
        for h in range(self.n_head):
            head = slice(h, h + 1)
            scores[..., head, :, :] = _shared(scores[..., head, :, :], None if sinks is None else sinks[head])
        return scores

    def keys(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        """The keys of all positions of the run [..., T, n], normalised and rotated, heads side by side."""
        return self._heads(run, self.k.build(run, x), self.k_norm, self.n_head_kv, None)

    def _queries(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        """The queries of the rows that are asked for, normalised, rotated and sharpened, heads side by side."""
        keep = kept(run, x)
        op, q = self.q.build(run.narrowed(), keep.apply(x))
        sharpen: Operator = Identity()
        op, q = self._heads(run, (Sequential([keep, op]), q), self.q_norm, self.n_head, run.rows)
        if self.temperature is not None:
            sharpen = Scale(self._sharpness(run, self.temperature, q))
            q = sharpen.apply(q)
        return Sequential([op, sharpen]), q

    def _sharpness(self, run: Run, temperature: Temperature, q: Tensor) -> Tensor:
        """What the queries are multiplied by, [T, 1]."""
        (factors,) = run.constant(
            (temperature, run.rows), q, lambda: (temperature.factors(asked(run, run.rows))[:, None].to(q),)
        )
        return factors

    def _heads(
        self, run: Run, made: tuple[Operator, Tensor], norm: Part | None, n: int, rows: tuple[int, ...] | None
    ) -> tuple[Operator, Tensor]:
        op, x = made
        heads, operators = x.unflatten(-1, (n, -1)), []
        if norm is not None and not self.rope_first:
            normalise, heads = QKNorm(norm).build(run, heads)
            operators.append(normalise)
        if self.rope is not None:
            turn = rotation(run, self.rope, heads, rows)
            heads = turn.apply(heads)
            operators.append(turn)
        if norm is not None and self.rope_first:
            normalise, heads = QKNorm(norm).build(run, heads)
            operators.append(normalise)
        return Sequential([op, Heads(Sequential(operators), n)]), heads.flatten(-2)


def asked(run: Run, rows: tuple[int, ...] | None) -> Tensor:
    """The positions of some rows of the run, or of all."""
    return run.positions if rows is None else run.positions[list(rows)]


def rotation(run: Run, rope: Rope, heads: Tensor, rows: tuple[int, ...] | None) -> Rotate:
    """How heads [..., T, n_head, d_head] turn at these rows of the run; the angles are the same in all layers."""
    cos, sin = run.constant((rope, rows), heads, lambda: rope.turns(asked(run, rows), run.n_ctx, heads))
    return Rotate(cos, sin, rope.pairing, rope.offset)


def _shared(scores: Tensor, sinks: Tensor | None) -> Tensor:
    """The softmax of the scores [..., n_head, Tq, T'], of which a sink [n_head, 1, 1] takes its part."""
    if sinks is None:
        return scores.softmax(-1)
    return torch.cat((scores, sinks.expand(*scores.shape[:-1], 1)), -1).softmax(-1)[..., :-1]


def alibi_slopes(n_head: int, max_bias: float) -> Tensor:
    """[n_head] float64: what a score loses per position between query and key (Press et al., arXiv 2108.12409).

    As in ggml's soft_max_ext: a geometric sequence down to 2^-max_bias for the first 2^k heads, the odd steps of one
    that is twice as fine for the others.
    """
    whole = 2 ** int(math.log2(n_head))
    first = [2 ** (-max_bias * (h + 1) / whole) for h in range(whole)]
    others = [2 ** (-max_bias / 2 * (2 * h + 1) / whole) for h in range(n_head - whole)]
    return torch.tensor(first + others, dtype=torch.float64)
