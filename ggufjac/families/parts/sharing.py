"""Layers that attend with the keys of an earlier layer."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ggufjac.families.parts.attention import Attention
from ggufjac.families.parts.joins import Sequential
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Identity, Operator


class LeaveKeys(Part):
    """The state as it is; the keys that `attention` makes of it are left under a name."""

    def __init__(self, name: str, attention: Attention) -> None:
        self.name = name
        self.attention = attention

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        run.shared[self.name] = self.attention.keys(run, run.freeze(x))
        return Identity(), x


@dataclass(frozen=True, kw_only=True)
class BorrowedKeys(Attention):
    """Attention without keys of its own: they are those that were left under `name`."""

    name: str
    k: Part = field(init=False, default=Sequential())

    def keys(self, run: Run, x: Tensor) -> Tensor:
        return run.shared[self.name]
