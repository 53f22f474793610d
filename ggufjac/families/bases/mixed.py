"""Two files of one network as one source: some tensors from the one, all others from the other."""

from __future__ import annotations

from collections.abc import Collection
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from ggufjac.families.bases.base import Family
from ggufjac.families.bases.source import Source
from ggufjac.quants.tensor import QuantTensor

if TYPE_CHECKING:
    from torch import Tensor

F = TypeVar("F", bound=Family)


class MixedSource(Source):
    """The tensors that are `taken` from `other`, and everything else from `one`; both have the same names and shapes.

    A family made from it is a network between the two. Nothing is copied: matrices lie in their files, and vectors are
    those that the two sources have expanded. used: the tensors that were asked for so far.
    """

    def __init__(self, one: Source, other: Source, taken: Collection[str] = ()) -> None:
        super().__init__(one.file)
        self.used: set[str] = set()
        self._one = one
        self._other = other
        self._taken = frozenset(taken)

    def integer_table(self, name: str, *shape: int) -> Tensor:
        return self._holder(name).integer_table(name, *shape)

    def _values(self, name: str, shape: tuple[int, ...]) -> Tensor:
        return self._holder(name)._values(name, shape)

    def _tensor(self, name: str, shape: tuple[int, ...]) -> QuantTensor:
        return self._holder(name)._tensor(name, shape)

    def _holder(self, name: str) -> Source:
        """The source that gives a tensor."""
        self._read.add(name)
        self.used.add(name)
        return self._other if name in self._taken else self._one


def reading(family: F, source: Source) -> F:
    """The family, whose layers, norm and head are read from another source when they are asked for; what it read when
    it was made stays."""
    made = copy(family)
    made.source = source
    for name in [name for name in vars(made) if isinstance(getattr(type(made), name, None), cached_property)]:
        del vars(made)[name]  # it may have been read
    return made
