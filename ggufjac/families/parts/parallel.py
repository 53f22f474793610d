"""Blocks whose attention and MLP read the same state and are added to it at once (GPT-J's parallel form)."""

from __future__ import annotations

from torch import Tensor

from ggufjac.families.parts.narrowing import kept
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Operator, Residual, Sequential


class ParallelBlock(Part):
    """x + attention(norm(x)) + mlp(mlp_norm(x)); without an mlp_norm both read the same normalised state.

    The operator is one write within another, "attn" and "mlp", as in a sequential block.
    """

    def __init__(self, norm: Part, attention: Part, mlp: Part, mlp_norm: Part | None = None) -> None:
        self.norm = norm
        self.attention = attention
        self.mlp = mlp
        self.mlp_norm = mlp_norm

    @property
    def children(self) -> tuple[Part, ...]:
        return tuple(part for part in (self.norm, self.attention, self.mlp, self.mlp_norm) if part is not None)

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        narrowed = run.narrowed()
        norm, normalised = self.norm.build(run.at(run.layer), x)
        attention, a = self.attention.build(run, normalised)
        skip = kept(run, x)
        if self.mlp_norm is None:
            before, read = Sequential([norm, skip]), skip.apply(normalised)
        else:
            mlp_norm, read = self.mlp_norm.build(narrowed, skip.apply(x))
            before = Sequential([skip, mlp_norm])
        mlp, m = self.mlp.build(narrowed, read)
        written = Residual(Sequential([norm, attention]), skip, "attn")
        state = skip.apply(x) + run.written("attn", a) + run.written("mlp", m)
        return Residual(Sequential([before, mlp]), written, "mlp"), state
