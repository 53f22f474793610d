"""Layers that hand on more than the residual stream: values that later layers read again, several streams at once.

Such a state is one vector per position, its lanes side by side; the residual stream that the output norm reads is
taken from it at the end of the network. Lanes are given as Python gives slices: negative numbers count from the end.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ggufjac import operators as ops
from ggufjac.families.parts.joins import Sequential
from ggufjac.families.parts.narrowing import kept
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Operator


class Slice(Part):
    """The entries start ... stop - 1 of the state."""

    def __init__(self, start: int, stop: int | None) -> None:
        self.where = slice(start, stop)

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        n = x.shape[-1]
        start, stop, _ = self.where.indices(n)
        op: Operator = ops.Identity() if (start, stop) == (0, n) else ops.Slice(start, stop, n)
        return op, op.apply(x)


class Append(Part):
    """(x | branch(x)): one lane more behind those that are there; without parts, x once more."""

    def __init__(self, *parts: Part) -> None:
        self.branch = Sequential(*parts)

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.branch,)

    @property
    def narrows(self) -> bool:
        """The state goes on whole, so the parts are built at every position."""
        return False

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op, y = self.branch.build(run.at(run.layer), x)
        return ops.Stack([ops.Identity(), op], [x.shape[-1], y.shape[-1]]), torch.cat((x, y), -1)


class Copies(Part):
    """(x | x | ...), so many times."""

    def __init__(self, times: int) -> None:
        self.times = times

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        return ops.Stack([ops.Identity()] * self.times, [x.shape[-1]] * self.times), torch.cat([x] * self.times, -1)


class Inside(Part):
    """The parts act on the entries start ... stop - 1 of the state, and what they return takes their place."""

    def __init__(self, start: int, stop: int, *parts: Part) -> None:
        self.start = start
        self.stop = stop
        self.inner = Sequential(*parts)

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.inner,)

    @property
    def narrows(self) -> bool:
        """The state goes on whole, so the parts are built at every position."""
        return False

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op, y = self.inner.build(run.at(run.layer), x[..., self.start : self.stop])
        state = torch.cat((x[..., : self.start], y, x[..., self.stop :]), -1)
        return ops.Inside(op, self.start, self.stop, y.shape[-1]), state


class ResidualAt(Part):
    """The state with branch(state) added at the entries start ... stop - 1: what one block writes, under a name."""

    def __init__(self, name: str, start: int, stop: int, *parts: Part) -> None:
        self.name = name
        self.start = start
        self.stop = stop
        self.branch = Sequential(*parts)

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.branch,)

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op, y = self.branch.build(run.within(), x)
        skip = kept(run, x) if self.narrows else ops.Identity()
        place = ops.Pad(self.start, self.stop, x.shape[-1])
        written = run.written(self.name, place.apply(y))
        return ops.Residual(ops.Sequential([op, place]), skip, self.name), skip.apply(x) + written


class NamedSlice(Part):
    """A part of whose output the entries start ... stop - 1 are announced under llama.cpp's name for them.

    planes: where it holds several streams in one tensor, [planes, T, n], their number.
    """

    def __init__(self, name: str, start: int, stop: int, part: Part, planes: int = 1) -> None:
        self.name = name
        self.start = start
        self.stop = stop
        self.part = part
        self.planes = planes

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.part,)

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op, y = self.part.build(run, x)
        if run.watch is None:
            return op, y
        lane = y[..., self.start : self.stop]
        if self.planes == 1:
            lane = run.value(self.name, lane)
        else:
            stacked = lane.unflatten(-1, (self.planes, -1)).movedim(-2, -3)
            lane = run.value(self.name, stacked).movedim(-3, -2).flatten(-2)
        return op, torch.cat((y[..., : self.start], lane, y[..., self.stop :]), -1)
