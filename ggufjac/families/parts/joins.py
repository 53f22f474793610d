"""How parts are joined into layers."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ggufjac import operators as ops
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Operator


class Sequential(Part):
    """The parts one after the other, each built at the value that the one before it returned.

    Where only some rows are needed, the last part that mixes positions drops the others; those before it still need
    every position, and those behind it have these rows alone.
    """

    def __init__(self, *parts: Part) -> None:
        self.parts = parts
        self._narrowing = max((i for i, part in enumerate(parts) if part.narrows), default=-1)

    @property
    def children(self) -> tuple[Part, ...]:
        return self.parts

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        operators = []
        for i, part in enumerate(self.parts):
            here = run if i == self._narrowing else run.at(run.layer)
            op, x = part.build(run.narrowed() if i > self._narrowing >= 0 else here, x)
            operators.append(op)
        return ops.Sequential(operators), x


class Residual(Part):
    """scale x + branch(x): what one block writes into the residual stream, under a name."""

    def __init__(self, name: str, *parts: Part, scale: float = 1.0) -> None:
        self.name = name
        self.branch = Sequential(*parts)
        self.scale = scale

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.branch,)

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op, y = self.branch.build(run.within(), x)
        skip = _skip(run, x, self.narrows)
        if self.scale != 1.0:
            skip = ops.Sequential([skip, ops.Scale(x.new_full((), self.scale))])
        return ops.Residual(op, skip, self.name), skip.apply(x) + run.written(self.name, y)


class Parallel(Part):
    """Parallel branches of the same input, added up (a block whose attention and MLP read the same norm)."""

    def __init__(self, *branches: Part) -> None:
        self.branches = branches

    @property
    def children(self) -> tuple[Part, ...]:
        return self.branches

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        operators: list[Operator] = []
        total: Tensor | None = None
        for branch in self.branches:
            dropped = self.narrows and not branch.narrows
            skip = _skip(run, x, dropped)
            op, y = branch.build(run.narrowed() if dropped else run, skip.apply(x))
            operators.append(ops.Sequential([skip, op]))
            total = y if total is None else total + y
        if total is None:
            raise ValueError("parallel branches need at least one branch")
        return ops.Parallel(operators), total


class Named(Part):
    """A part whose output is announced under llama.cpp's name for it."""

    def __init__(self, name: str, part: Part) -> None:
        self.name = name
        self.part = part

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.part,)

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op, y = self.part.build(run, x)
        return op, run.value(self.name, y)


class Unnamed(Part):
    """A part inside of which nothing is announced."""

    def __init__(self, part: Part) -> None:
        self.part = part

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.part,)

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        return self.part.build(replace(run, watch=None), x)


def _skip(run: Run, x: Tensor, narrowed: bool) -> Operator:
    if narrowed and run.rows is not None:
        return ops.Select(run.rows, x.shape[-2], x.device)
    return ops.Identity()
