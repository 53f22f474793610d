"""Affine operators on blocks, and how they are joined.

An operator maps blocks x [..., T, n_in] to y [..., T', n_out] by y = A x + one * b. The homogeneous coordinate `one`
(one number per column, or a plain float) carries the constants of the network: 1 for a value that flows through it,
absent for a column of the linear map. Leading dimensions are columns; all of them share one pass over the weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TypeAlias

from torch import Tensor

#: The homogeneous coordinate of a block: a float, or a tensor that broadcasts against it; None stands for 0.
One: TypeAlias = "float | Tensor | None"

#: Receives, in an adjoint pass, what each constant b contributes to every column: its name, and <g, b> by the position
#: at which it enters, shape [..., T] (no n), where T is the number of positions of the block that it is added to.
Tally: TypeAlias = "Callable[[str, Tensor], None] | None"


class Operator(ABC):
    """y = A x + one * b on blocks [..., T, n]; `adjoint` is the transpose of A."""

    @abstractmethod
    def apply(self, x: Tensor, one: One = None) -> Tensor:
        """A x + one * b."""

    @abstractmethod
    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        """A^T g; with `tally`, every constant is handed to it by name, so that constants can be attributed."""

    @property
    def affine(self) -> bool:
        """Whether b can differ from zero."""
        return any(op.affine for op in self.children)

    @property
    def children(self) -> tuple[Operator, ...]:
        """The operators of which this one is made; empty for one that does its own work."""
        return ()

    @property
    def inner_width(self) -> int:
        """Numbers that a product holds for each position of a column, where no weight's shape tells it."""
        return 0


class Identity(Operator):
    """y = x."""

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return x

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return g


class Sequential(Operator):
    """The operators one after the other, the first one first."""

    def __init__(self, operators: Iterable[Operator]) -> None:
        flat: list[Operator] = []
        for op in operators:
            flat.extend(op.operators if isinstance(op, Sequential) else [op])
        self.operators: tuple[Operator, ...] = tuple(flat)

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        for op in self.operators:
            x = op.apply(x, one)
        return x

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        for op in reversed(self.operators):
            g = op.adjoint(g, tally)
        return g

    @property
    def children(self) -> tuple[Operator, ...]:
        return self.operators


class Parallel(Operator):
    """The operators side by side on the same input, their outputs added: parallel branches, experts, residuals."""

    def __init__(self, operators: Iterable[Operator]) -> None:
        self.operators = tuple(operators)

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        first, *rest = self.operators
        y = first.apply(x, one)
        for op in rest:
            y = y + op.apply(x, one)
        return y

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        first, *rest = self.operators
        x = first.adjoint(g, tally)
        for op in rest:
            x = x + op.adjoint(g, tally)
        return x

    @property
    def children(self) -> tuple[Operator, ...]:
        return self.operators


class Residual(Parallel):
    """skip + branch: what a block adds to the stream. `name` tells which write this is ("attn", "mlp", ...)."""

    def __init__(self, branch: Operator, skip: Operator, name: str) -> None:
        super().__init__((skip, branch))
        self.branch = branch
        self.skip = skip
        self.name = name


class Deferred(Operator):
    """An operator that is made anew whenever it is needed, so that its coefficients take no memory in between.

    make: gives the operator, the same one every time. Sweeps call `built` once per visit.
    """

    def __init__(self, make: Callable[[], Operator], affine: bool) -> None:
        self._make = make
        self._affine = affine

    def built(self) -> Operator:
        return self._make()

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return self.built().apply(x, one)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return self.built().adjoint(g, tally)

    @property
    def affine(self) -> bool:
        return self._affine


def built(op: Operator) -> Operator:
    """The operator itself, made now where it was put off."""
    return op.built() if isinstance(op, Deferred) else op
