"""A text that goes on: its new positions read the keys and values that the layers kept of those before."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.families.parts.run import Run
from ggufjac.operators import Operator, Preceded

#: Where a past keeps what is no layer's own.
WHOLE = -1


class Past:
    """What every layer keeps of positions that were run: room for so many of them.

    positions [P] int64: those that are there. A pass through the layers adds its own with `passed` at its end; until
    then a pass that is begun again takes the place of the one that was given up.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.positions = torch.arange(0)
        self._kept: dict[tuple[int, str], Tensor] = {}

    def joined(self, layer: int, what: str, new: Tensor) -> tuple[Tensor, Tensor]:
        """Of one thing that a layer keeps: what is there [..., P, n], and the same with `new` [..., m, n] behind it."""
        n, m = len(self.positions), new.shape[-2]
        if n + m > self.room:
            raise ValueError(f"{n + m} positions do not fit a past with room for {self.room}")
        if (layer, what) not in self._kept:
            self._kept[layer, what] = new.new_empty(*new.shape[:-2], self.room, new.shape[-1])
        kept = self._kept[layer, what]
        kept[..., n : n + m, :] = new
        return kept[..., :n, :], kept[..., : n + m, :]

    def passed(self, positions: Tensor) -> None:
        """All layers have kept what they keep of these positions [m]."""
        self.positions = torch.cat((self.positions, positions))

    def first(self, n: int) -> Past:
        """The first n positions, for texts side by side that all begin with them and go on in different ways."""
        return _Shared(self.positions[:n], self._kept)


class _Shared(Past):
    """What was kept of positions before, which several texts read and none adds to."""

    def __init__(self, positions: Tensor, kept: dict[tuple[int, str], Tensor]) -> None:
        super().__init__(len(positions))
        self.positions = positions
        self._kept = kept

    def joined(self, layer: int, what: str, new: Tensor) -> tuple[Tensor, Tensor]:
        n = len(self.positions)
        before = self._kept[layer, what][..., :n, :].expand(*new.shape[:-2], n, new.shape[-1])
        return before, torch.cat((before, new), -2)


@dataclass(frozen=True, kw_only=True)
class Continued(Run):
    """A run of the positions that follow those of its past; `tokens` and `positions` are its own alone.

    Every part of the network that mixes positions must resume (`Family.resumes`). A layer has one attention, which is
    built once in a pass. The operators map the run's own vectors; what comes from the past is a constant.
    """

    past: Past

    @property
    def readable(self) -> Tensor:
        return torch.cat((self.past.positions, self.positions))

    def with_past(self, name: str, own: Tensor) -> Tensor:
        return self.past.joined(WHOLE, name, own)[1]

    def all_keys(self, k: Tensor) -> tuple[Operator, Tensor]:
        before, keys = self.past.joined(self.layer, "keys", k)
        return Preceded(before), keys

    def stored(self, v: Tensor) -> tuple[Operator, Tensor]:
        before, values = self.past.joined(self.layer, "values", v)
        return Preceded(before), values
