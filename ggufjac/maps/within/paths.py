"""The ways by which a functional of the output draws on the tokens: past which positions, through whose writes.

With every coefficient frozen the network is a sum over paths from the tokens' vectors to the output, through branches
and past them. Two groupings of these paths add up exactly and come out of adjoint sweeps:

by last write: every path belongs to the last named write (`Residual`) whose branch it goes through, after which it
follows the skips alone; those through no branch at all are the direct ones. The transpose carries one column along
the skips; at each write the branch's transpose makes a column of its own of it, which goes down through all below.

by position: on entering a block, every path is at one position. With g_l the functional pulled back to the state h_l
that enters block l, g_l[p] . h_l[p] is what the paths at position p are worth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.maps import sweeps
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.linear import LinearMap
from ggufjac.operators import Operator, Residual, Sequential, built
from ggufjac.operators.walk import weights
from ggufjac.quants.memory.budget import columns_within
from ggufjac.quants.memory.readahead import AHEAD, Readahead
from ggufjac.quants.memory.threads import kernels_first

#: The number of the operator and the name of the write in it.
Name = tuple[int, str]


@dataclass(frozen=True)
class LastWrites:
    """f . y by the token in which a path begins and the last write that it goes through.

    names: in the order of the network, W of them. terms [1 + W, T]: what comes from each token, the direct paths first;
    constants [1 + W]: what comes from the network's constants. Over the rows, terms add up to f . J_t x_t and constants
    to f . c.
    """

    names: tuple[Name, ...]
    terms: Tensor
    constants: Tensor


def last_writes(linear: LinearMap, functional: Tensor) -> LastWrites:
    """The paths of a functional of the output [n_out], grouped by their last write.

    One backward sweep whose block grows by a column per write; where the budget does not hold them all, several.
    """
    room = linear.room
    limit = columns_within(room, linear.inputs.numel() * linear.inputs.element_size())
    stream = _Columns(functional[None, None], functional.new_zeros(1), ())
    finished: list[_Columns] = []
    at = len(linear.operators)
    with kernels_first(), Readahead() as ahead:
        while at > 0:
            met: _Columns | None = None
            while at > 0 and (met is None or len(met.names) < limit):
                at -= 1
                op = _visit(linear, at, ahead)
                stream, new = _split(op, stream, at, room)
                met = _joined(None if met is None else met.through(op, room), new)
            if met is not None:
                for below in range(at - 1, -1, -1):
                    met = met.through(_visit(linear, below, ahead), room)
                finished.append(met)
    columns = [*finished, stream]
    return LastWrites(
        names=tuple(name for met in finished for name in met.names)[::-1],
        terms=torch.cat([(met.block * linear.inputs).sum(-1) for met in columns]).flip(0),
        constants=torch.cat([met.constants for met in columns]).flip(0),
    )


def positions(linear: DetachedMap, functional: Tensor) -> Tensor:
    """[L + 1, T + 1]: what the paths at every position are worth on entering each block and on leaving the last one.

    functional: of the output [d]. The last entry of a row is what constants bring in from there on; every row adds up
    to f . y. One backward sweep of one column.
    """
    n_layers, n_tokens = len(linear.forward_pass.layers), linear.shape[1]
    worth = functional.new_zeros(n_layers + 1, n_tokens + 1)
    column = _Columns(functional[None, None], functional.new_zeros(1), ())
    with kernels_first(), Readahead() as ahead:
        for at in range(n_layers, -1, -1):
            column = column.through(_visit(linear, at, ahead), linear.room)
            here = (column.block[0] * linear.forward_pass.states[at]).sum(-1)
            worth[at, n_tokens - len(here) : n_tokens] = here  # what leaves the last block may be one position alone
            worth[at, n_tokens] = column.constants[0]
    return worth


@dataclass(frozen=True)
class _Columns:
    """Columns on their way down, block [n, T, width], with what the constants on the way are worth to each [n]."""

    block: Tensor
    constants: Tensor
    names: tuple[Name, ...]

    def through(self, op: Operator, room: int) -> _Columns:
        """The columns below `op`, in pieces that fit into `room` bytes."""
        step = sweeps.piece_columns(op, self.block, room)
        constants, pieces = self.constants.clone(), []
        for start in range(0, len(self.block), step):
            pieces.append(op.adjoint(self.block[start : start + step], _into(constants[start : start + step])))
        return _Columns(pieces[0] if len(pieces) == 1 else torch.cat(pieces), constants, self.names)


def _into(worth: Tensor) -> Callable[[str, Tensor], None]:
    """A tally that adds to `worth`."""

    def tally(_: str, b: Tensor) -> None:
        worth.add_(b.sum(-1))

    return tally


def _joined(above: _Columns | None, below: _Columns | None) -> _Columns | None:
    if above is None or below is None:
        return above or below
    return _Columns(
        torch.cat((above.block, below.block)),
        torch.cat((above.constants, below.constants)),
        above.names + below.names,
    )


def _split(op: Operator, stream: _Columns, at: int, room: int) -> tuple[_Columns, _Columns | None]:
    """What the skips of `op` hand down of the stream, and a column for every write in it, the last one first."""
    if isinstance(op, Sequential):
        met: _Columns | None = None
        for part in reversed(op.operators):
            stream, new = _split(part, stream, at, room)
            met = _joined(None if met is None else met.through(part, room), new)
        return stream, met
    if isinstance(op, Residual):
        # what a constant is worth to the stream before this write stays with the stream
        fresh = _Columns(stream.block, torch.zeros_like(stream.constants), ((at, op.name),))
        below, new = _split(op.skip, stream, at, room)
        return below, _joined(fresh.through(op.branch, room), new)
    return stream.through(op, room), None


def _visit(linear: LinearMap, at: int, ahead: Readahead) -> Operator:
    """The operator number `at`, visited after the one above it, while the weights of those below are on their way."""
    ahead.ask(weight.data for near in linear.operators[max(0, at - AHEAD) : at][::-1] for weight in weights(near))
    if at + 1 < len(linear.operators):
        ahead.leave(weights(linear.operators[at + 1]))
    return built(linear.operators[at])
