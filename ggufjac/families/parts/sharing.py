"""Layers that attend with the keys of an earlier layer.

Where the rules let the probabilities depend on the keys, these are a lane of the state behind those that are there;
otherwise they are frozen, and left for later layers outside of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ggufjac.families.parts.attention import Attention
from ggufjac.families.parts.joins import Sequential
from ggufjac.families.parts.lanes import Slice
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Identity, Operator, Stack


class LeaveKeys(Part):
    """The state as it is; the keys that `attention` makes of it are left under a name, or in a lane of their own."""

    def __init__(self, name: str, attention: Attention) -> None:
        self.name = name
        self.attention = attention

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op, k = self.attention.keys(run.at(run.layer), run.freeze(x, "attention"))
        if not run.live("attention"):
            run.shared[self.name] = k
            return Identity(), x
        return Stack([Identity(), op], [x.shape[-1], k.shape[-1]]), torch.cat((x, k), -1)


class LaneOf(Part):
    """The entries start ... stop - 1 of the state, not counting lanes of keys: `before` entries of them precede it."""

    def __init__(self, start: int, stop: int, before: int) -> None:
        self.start = start
        self.stop = stop
        self.before = before

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        shift = self.before if run.live("attention") else 0
        return Slice(self.start + shift, self.stop + shift).build(run, x)


@dataclass(frozen=True, kw_only=True)
class BorrowedKeys(Attention):
    """Attention without keys of its own: they are those that were left under `name`, or in a lane of the state."""

    name: str
    lane: LaneOf
    k: Part = field(init=False, default=Sequential())

    def keys(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        return self.lane.build(run, x) if run.live("attention") else (Identity(), run.shared[self.name])
