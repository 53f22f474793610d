"""Functionals on their way down the network, more of them at every place where some begin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ggufjac.maps import sweeps
from ggufjac.maps.linear import LinearMap
from ggufjac.operators import Operator, built
from ggufjac.operators.walk import weights
from ggufjac.quants.memory.readahead import AHEAD, Readahead

Name = TypeVar("Name")


@dataclass(frozen=True)
class Columns(Generic[Name]):
    """Columns on their way down, block [n, T, width], with what the constants on the way are worth to each [n].

    names: what each stands for.
    """

    block: Tensor
    constants: Tensor
    names: tuple[Name, ...]

    def through(self, op: Operator, room: int) -> Columns[Name]:
        """The columns below `op`, in pieces that fit into `room` bytes."""
        step = sweeps.piece_columns(op, self.block, room)
        constants, pieces = self.constants.clone(), []
        for start in range(0, len(self.block), step):
            pieces.append(op.adjoint(self.block[start : start + step], _into(constants[start : start + step])))
        return Columns(pieces[0] if len(pieces) == 1 else torch.cat(pieces), constants, self.names)


def _into(worth: Tensor) -> Callable[[str, Tensor], None]:
    """A tally that adds to `worth`."""

    def tally(_: str, b: Tensor) -> None:
        worth.add_(b.sum(-1))

    return tally


def joined(above: Columns[Name] | None, below: Columns[Name] | None) -> Columns[Name] | None:
    """Both, those from above first."""
    if above is None or below is None:
        return above or below
    return Columns(
        torch.cat((above.block, below.block)),
        torch.cat((above.constants, below.constants)),
        above.names + below.names,
    )


def visit(linear: LinearMap, at: int, ahead: Readahead) -> Operator:
    """The operator number `at`, visited after the one above it, while the weights of those below are on their way."""
    ahead.ask(weight.data for near in linear.operators[max(0, at - AHEAD) : at][::-1] for weight in weights(near))
    if at + 1 < len(linear.operators):
        ahead.leave(weights(linear.operators[at + 1]))
    return built(linear.operators[at])
