"""What a network's constants give to functionals of its output, told apart: by layer, by name, by position.

Biases, offsets and learned positions are added to the states on their way, each at a place of its own. From there on
it is columns of the map like any other, so what a constant gives to a functional f is <g, b>, with g the functional
pulled back to where b is added. One backward sweep meets all of them; together they are f . c exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from ggufjac.maps import sweeps
from ggufjac.maps.detached import DetachedMap
from ggufjac.operators import Operator, Residual, Sequential
from ggufjac.quants.memory.readahead import Readahead
from ggufjac.quants.memory.threads import kernels_first

#: Is told what a constant gives: the write that it enters in (None: the stream itself), its name, [m, T'].
_Told: TypeAlias = "Callable[[str | None, str, Tensor], None]"


@dataclass(frozen=True)
class ConstantSource:
    """Where a constant enters.

    layer: from 0, None behind the last one; part: the write in whose branch it is added ("attn", "mlp", ...), None for
    the stream itself; name: the tensor's own in the file ("blk.3.attn_v.bias"), or what a family calls it.
    """

    layer: int | None
    part: str | None
    name: str


@dataclass(frozen=True)
class Constants:
    """What each of S constants gives to m functionals of the output, by the position at which it enters.

    sources: in the order of the network. worth [S, m, T]: over sources and positions it adds up to f . c.
    """

    sources: tuple[ConstantSource, ...]
    worth: Tensor


def constants(linear: DetachedMap, functionals: Tensor) -> Constants:
    """The constants behind functionals of the output [m, d]. One backward sweep of m columns; none without constants.

    Raises ValueError for a map whose text goes on from positions that are not its own.
    """
    n_layers, n_tokens = len(linear.forward_pass.layers), linear.shape[1]
    found = _Found(functionals.new_zeros(len(functionals), n_tokens))
    if any(op.affine for op in linear.operators):
        g = functionals[:, None].to(linear.blocks or linear.dtype)
        with kernels_first(), Readahead() as ahead:
            for above, op in enumerate(sweeps.visited(linear.operators[::-1], ahead)):
                layer = n_layers - above
                g = found.through(op, g, layer if layer < n_layers else None, linear.room)
    return found.in_order()


class _Found:
    """What was met on the way down; nothing [m, T] is what a constant gives that was not."""

    def __init__(self, nothing: Tensor) -> None:
        self._nothing = nothing
        self._worth: dict[ConstantSource, Tensor] = {}

    def through(self, op: Operator, g: Tensor, layer: int | None, room: int) -> Tensor:
        """The cotangents g [m, T', n] below `op`, in pieces that fit into `room` bytes."""
        step, pieces = sweeps.piece_columns(op, g, room), []
        for start in range(0, len(g), step):

            def told(part: str | None, name: str, worth: Tensor, start: int = start) -> None:
                self._add(ConstantSource(layer, part, name), start, worth)

            pieces.append(_back(op, g[start : start + step], None, told))
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def in_order(self) -> Constants:
        """All of it, from the first layer up."""
        sources = tuple(self._worth)[::-1]
        empty = self._nothing.new_zeros(0, *self._nothing.shape)
        return Constants(sources, torch.stack([self._worth[s] for s in sources]) if sources else empty)

    def _add(self, source: ConstantSource, start: int, worth: Tensor) -> None:
        """worth [k, T'], of the columns from `start` on; where T' are not all positions, they are the last ones."""
        missing = self._nothing.shape[1] - worth.shape[1]
        if missing < 0:
            raise ValueError("constants at positions before the map's own have no place among them")
        total = self._worth.setdefault(source, self._nothing.clone())
        total[start : start + len(worth), missing:] += worth


def _back(op: Operator, g: Tensor, part: str | None, told: _Told) -> Tensor:
    """op.adjoint(g); constants are told with the write that they are in."""
    if isinstance(op, Sequential):
        for one in reversed(op.operators):
            g = _back(one, g, part, told)
        return g
    if isinstance(op, Residual):
        return _back(op.skip, g, part, told) + _back(op.branch, g, op.name, told)
    return op.adjoint(g, lambda name, worth: told(part, name, worth))
