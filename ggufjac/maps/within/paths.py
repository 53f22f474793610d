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

from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.linear import LinearMap
from ggufjac.maps.within.columns import Columns, joined, visit
from ggufjac.operators import Operator, Residual, Sequential
from ggufjac.quants.memory.budget import columns_within
from ggufjac.quants.memory.readahead import Readahead
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
    stream: Columns[Name] = Columns(functional[None, None], functional.new_zeros(1), ())
    finished: list[Columns[Name]] = []
    at = len(linear.operators)
    with kernels_first(), Readahead() as ahead:
        while at > 0:
            met: Columns[Name] | None = None
            while at > 0 and (met is None or len(met.names) < limit):
                at -= 1
                op = visit(linear, at, ahead)
                stream, new = _split(op, stream, at, room)
                met = joined(None if met is None else met.through(op, room), new)
            if met is not None:
                for below in range(at - 1, -1, -1):
                    met = met.through(visit(linear, below, ahead), room)
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
    column: Columns[Name] = Columns(functional[None, None], functional.new_zeros(1), ())
    with kernels_first(), Readahead() as ahead:
        for at in range(n_layers, -1, -1):
            column = column.through(visit(linear, at, ahead), linear.room)
            here = (column.block[0] * linear.forward_pass.states[at]).sum(-1)
            worth[at, n_tokens - len(here) : n_tokens] = here  # what leaves the last block may be one position alone
            worth[at, n_tokens] = column.constants[0]
    return worth


def _split(op: Operator, stream: Columns[Name], at: int, room: int) -> tuple[Columns[Name], Columns[Name] | None]:
    """What the skips of `op` hand down of the stream, and a column for every write in it, the last one first."""
    if isinstance(op, Sequential):
        met: Columns[Name] | None = None
        for part in reversed(op.operators):
            stream, new = _split(part, stream, at, room)
            met = joined(None if met is None else met.through(part, room), new)
        return stream, met
    if isinstance(op, Residual):
        # what a constant is worth to the stream before this write stays with the stream
        fresh = Columns(stream.block, torch.zeros_like(stream.constants), ((at, op.name),))
        below, new = _split(op.skip, stream, at, room)
        return below, joined(fresh.through(op.branch, room), new)
    return stream.through(op, room), None
