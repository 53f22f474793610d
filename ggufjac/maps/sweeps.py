"""Columns through a stack of operators, forwards or backwards, in pieces that fit a memory budget.

Layers are the outer loop: each layer's weights are met once per sweep however many columns there are, and the next
layer's are asked for while this one computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TypeAlias, TypeVar

from torch import Tensor

from ggufjac.operators import One, Operator, Sequential, built
from ggufjac.operators.derivative import Derivative
from ggufjac.operators.fold import PerToken, fold
from ggufjac.operators.span import span
from ggufjac.operators.walk import (
    everything,
    leaves,
    positions,
    read_weights,
    stored_elsewhere,
    stores,
    weights,
    widest,
)
from ggufjac.quants.memory.budget import folded_within
from ggufjac.quants.memory.readahead import AHEAD, Readahead
from ggufjac.quants.memory.threads import kernels_first, shared_out, spare_threads

Item = TypeVar("Item")

#: Is told that so many columns have passed one more layer; None where nobody listens.
Passed: TypeAlias = "Callable[[int], None] | None"

#: Columns are cut so that the values of one piece stay near the caches.
PIECE_BYTES = 3 << 20
#: Fewer rows (positions of all columns) than this would make the products wait for the weights.
FEWEST_ROWS = 128
#: How many values as wide as the widest one live at once while a piece passes a layer.
ALIVE = 4
#: For sweeps of a few columns, whose caller says nothing of memory.
ROOM = 1 << 30


def piece_columns(op: Operator, x: Tensor, room: int) -> int:
    """How many columns of x [n, T, d] should pass `op` together."""
    n_tokens, d, itemsize = max(x.shape[-2], positions(op)), x.shape[-1], x.element_size()
    most = _most_columns(op, x, room)
    if stored_elsewhere(op):  # every piece expands the weights anew
        return most
    if any(isinstance(leaf, PerToken) for leaf in leaves(op)):  # whose products have a row a column
        return min(most, max(FEWEST_ROWS, PIECE_BYTES // max(1, n_tokens * d * itemsize)))
    return min(most, max(-(-FEWEST_ROWS // n_tokens), PIECE_BYTES // max(1, n_tokens * d * itemsize)))


def _most_columns(op: Operator, x: Tensor, room: int) -> int:
    """For how many columns of x the values within `op` fit into their part of the room."""
    inside = ALIVE * max(x.shape[-2], positions(op)) * max(x.shape[-1], widest(op)) * x.element_size()
    return max(1, folded_within(room) // max(1, inside))


def side_by_side(op: Operator, x: Tensor, n: int, columns: int, room: int) -> int:
    """How many pieces, so many columns each of n like those of x [.., T, d], pass `op` at once, a thread each; where
    pieces are few, threads share their products instead."""
    # torch has one level of forward differentiation for all threads
    if x.device.type != "cpu" or any(isinstance(part, Derivative) for part in everything(op)):
        return 1
    return max(1, min(spare_threads(), n // columns // 2, _most_columns(op, x, room) // columns))


def forward(
    operators: Sequence[Operator], x: Tensor, one: One = None, room: int = ROOM, passed: Passed = None
) -> Tensor:
    """x [n, T, d] through the operators in order."""
    owned = False
    with kernels_first(), Readahead() as ahead:
        for op in visited(operators, ahead):
            y = through(op, x, one, room, owned=owned, passed=passed)
            owned, x = owned or y is not x, y
            del op, y  # before the next one is made
    return x


def backward(
    operators: Sequence[Operator],
    g: Tensor,
    room: int = ROOM,
    ends: Sequence[int] | None = None,
    passed: Passed = None,
) -> Tensor:
    """g [n, T', d] through the transposed operators, last to first.

    ends: how many positions of each column are not zero, in ascending order (None: all); operators must be causal and
    keep all positions then, and what lies behind a column's end costs nothing.
    """
    owned = False
    with kernels_first(), Readahead() as ahead:
        for op in visited(operators[::-1], ahead):
            h = back_through(op, g, room, owned=owned, ends=ends, passed=passed)
            owned, g = owned or h is not g, h
            del op, h
    return g


def through(op: Operator, x: Tensor, one: One, room: int, *, owned: bool, passed: Passed = None) -> Tensor:
    """x [n, T, d] through one operator; an owned x may be overwritten."""
    columns = piece_columns(op, x, room)
    with _at_hand(op, x.shape[0] > columns, room):
        return _in_pieces(op.apply, x, one, columns, side_by_side(op, x, len(x), columns, room), owned, passed)


def back_through(
    op: Operator,
    g: Tensor,
    room: int,
    *,
    owned: bool,
    ends: Sequence[int] | None = None,
    passed: Passed = None,
) -> Tensor:
    """g [n, T', d] through one transposed operator, with its MLPs folded where that pays; an owned g may be
    overwritten. ends: as in `backward`."""
    cheap = fold(op, g.shape[0], folded_within(room))
    if ends is not None:
        columns = piece_columns(op, g, room)
        with _at_hand(op, cheap is op and g.shape[0] > columns, room):
            return _short(cheap, g, ends, columns, side_by_side(op, g, len(g), columns, room), owned, passed)
    # what is folded wants longer pieces than the rest of a layer
    parts = cheap.operators if cheap is not op and isinstance(cheap, Sequential) else (cheap,)
    for i, part in reversed(list(enumerate(parts))):
        columns = piece_columns(part, g, room)
        with _at_hand(op, cheap is op and g.shape[0] > columns, room):
            threads = side_by_side(part, g, len(g), columns, room)
            h = _in_pieces(partial(_transposed, part), g, None, columns, threads, owned, None if i else passed)
        owned, g = owned or h is not g, h
    return g


def _transposed(op: Operator, g: Tensor, _: One) -> Tensor:
    return op.adjoint(g)


def _short(
    op: Operator, g: Tensor, ends: Sequence[int], columns: int, threads: int, owned: bool, passed: Passed
) -> Tensor:
    """Columns that end early, in pieces that are as long as their last one."""
    n_tokens, out = g.shape[-2], None

    def make(piece: slice) -> Tensor:
        n = ends[piece][-1]
        return span(op, 0, n, n_tokens).adjoint(g[piece, :n])

    pieces = [slice(start, start + columns) for start in range(0, len(g), columns)]
    for piece, h in zip(pieces, _each(make, pieces, threads), strict=True):
        if out is None:
            same = owned and h.shape[-1] == g.shape[-1]
            out = g if same else g.new_zeros(len(g), n_tokens, h.shape[-1])
        out[piece, : h.shape[-2]] = h
        if passed is not None:
            passed(len(h))
    assert out is not None
    return out


def _at_hand(op: Operator, pieces: bool, room: int) -> ExitStack:
    """A layer's weights remain on their device while several pieces pass, in half of what folded MLPs would take."""
    stack = ExitStack()
    if pieces:
        for store in stores([op]):
            stack.enter_context(store.at_hand(weights(op), folded_within(room) // 2))
    return stack


def visited(operators: Sequence[Operator], ahead: Readahead) -> Iterator[Operator]:
    """The operators in order, each made where it was put off, while the next ones' weights are on their way."""
    for i, op in enumerate(operators):
        ahead.ask(weight.data for near in operators[i + 1 : i + 1 + AHEAD] for weight in read_weights(near))
        now = built(op)
        yield now
        ahead.leave(weights(now))
        del now  # before the next one is made


def _in_pieces(
    step: Callable[[Tensor, One], Tensor], x: Tensor, one: One, columns: int, threads: int, owned: bool, passed: Passed
) -> Tensor:
    """`step` on pieces of x, so many side by side; what is owned is overwritten where the result has the same shape."""
    n = x.shape[0]
    if n <= columns:
        out = step(x, one)
        if passed is not None:
            passed(n)
        return out

    def make(start: int) -> Tensor:
        unit = one[start : start + columns] if isinstance(one, Tensor) else one
        return step(x[start : start + columns], unit)

    starts = range(0, n, columns)
    whole: Tensor | None = None
    for start, y in zip(starts, _each(make, starts, threads), strict=True):
        if whole is None:
            whole = x if owned and y.shape[1:] == x.shape[1:] else x.new_empty(n, *y.shape[1:])
        whole[start : start + columns] = y
        if passed is not None:
            passed(len(y))
    assert whole is not None
    return whole


def _each(make: Callable[[Item], Tensor], items: Sequence[Item], threads: int) -> Iterator[Tensor]:
    return map(make, items) if threads == 1 else shared_out(make, items, threads)
