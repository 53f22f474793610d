"""What every map is made of: operators in a row, columns through them, and as many at once as memory allows."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property

import torch
from torch import Tensor

from ggufjac.errors import UserError
from ggufjac.maps.sweeps import Passed
from ggufjac.operators import Operator
from ggufjac.operators.cast import cast
from ggufjac.operators.walk import coefficient_bytes, stores
from ggufjac.quants.memory.away import Away, Here
from ggufjac.quants.memory.budget import Budget, columns_within, smallest_room
from ggufjac.quants.memory.devices import OutOfMemory, forget_cached
from ggufjac.quants.memory.store import DeviceWeights

#: Columns that are not worth less room than the weights, where a device runs out of memory.
FEW = 64
#: Columns among which the tokens are dealt out to check that a map reconstructs the output; and for a quick check.
GROUPS, FEW_GROUPS = 16, 2


def relative_error(made: Tensor, y: Tensor) -> Tensor:
    """||made - y|| / ||y|| along the last dimension; 0 where both are zero, as a network whose last norm is."""
    missed, length = (made - y).norm(dim=-1), y.norm(dim=-1)
    return torch.where(missed == 0, missed, missed / length)


class SweptMap:
    """Operators in a row, applied straight from the packed weights.

    inputs x [T, n_in], the vectors that enter; width: n_out, of what they make of a position. budget: of the memory
    that coefficients and sweeps may take (None: a quarter of what the device has). blocks: the precision that columns
    have inside a sweep (None: that of the inputs).
    """

    def __init__(
        self,
        inputs: Tensor,
        operators: Sequence[Operator],
        width: int,
        budget: Budget | None = None,
        blocks: torch.dtype | None = None,
    ) -> None:
        self.inputs = inputs
        self.operators = tuple(operators if blocks is None else (cast(op, blocks) for op in operators))
        self.budget = Budget.on(inputs.device) if budget is None else budget
        self.blocks = blocks
        #: Is told how far a sweep has come.
        self.passed: Passed = None
        self._width = width
        self._rounded = 0 if blocks is None else coefficient_bytes(operators)
        self._most = sys.maxsize  # columns at once, once the device had no room for more

    def __repr__(self) -> str:
        d, n_tokens, d_in = self.shape
        return f"<{type(self).__name__} {n_tokens} tokens x {d_in} -> {d}, {self.dtype}, {self.device}>"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_out, T, n_in): the output's dimension and the inputs'."""
        n_tokens, d = self.inputs.shape
        return self._width, n_tokens, d

    @property
    def dtype(self) -> torch.dtype:
        return self.inputs.dtype

    @property
    def _inside(self) -> torch.dtype:
        return self.blocks or self.dtype

    @property
    def device(self) -> torch.device:
        return self.inputs.device

    def _dealt(self, groups: int) -> Tensor:
        """The inputs as columns [groups, T, d] that add up to them: every token one of its own; in prompts of more
        tokens, every groups-th shares one. All in one column would only repeat the forward pass."""
        n_tokens = self.shape[1]
        groups = min(n_tokens, groups)
        x = self.inputs.new_zeros(groups, *self.inputs.shape)
        x[[t % groups for t in range(n_tokens)], range(n_tokens)] = self.inputs
        return x

    @cached_property
    def room(self) -> int:
        """Bytes for columns, beside the coefficients."""
        return self.holding.room

    @property
    def holding(self) -> Budget:
        """The budget once the coefficients are held, and beside rounded ones those that they come from."""
        return self.budget.holding(coefficients=self._rounded + coefficient_bytes(self.operators))

    def cut(self, columns: int, *, transposed: bool, numbers: int | None = None) -> tuple[int, bool]:
        """How many of so many columns a sweep takes at once, and whether the result leaves the device or goes to disk.

        numbers: of a column's result (None: those of the map).

        Raises UserError where the budget does not hold one column.
        """
        d, n_tokens, d_in = self.shape
        return self._cut(columns, (n_tokens * d_in if transposed else d) if numbers is None else numbers)

    def _cut(self, columns: int, numbers: int) -> tuple[int, bool]:
        """The same, for results of so many numbers a column."""
        itemsize = self.inputs.element_size()
        column, result = self.inputs.numel() * itemsize, columns * numbers * itemsize
        if columns <= min(self._most, columns_within(self.room, column)):
            return columns, False
        away = 2 * result > self.room
        return min(self._most, columns_within(self.room if away else self.room - result, column)), away

    def _chunked(self, n: int, sweep: Callable[[slice], Tensor], out_shape: tuple[int, ...]) -> Tensor:
        """[n, *out_shape]: what `sweep` gives for n columns, so many at once as there is room for."""
        step, away = self._cut(n, math.prod(out_shape))
        if n <= step and not away:
            with suppress(OutOfMemory):
                return sweep(slice(0, n))
            step = self._fewer(n)
        target = (Away if away else Here)((n, *out_shape), self.dtype, self.device)
        start = 0
        while start < n:
            try:
                target.put(start, sweep(slice(start, start + step)))
            except OutOfMemory:
                step = self._fewer(step)
                continue
            start += step
        return target.whole()

    def _fewer(self, columns: int) -> int:
        """With how many columns to try again, where the device ran out of memory with so many.

        Few columns take little beside the weights that stay, and fewer ones would meet the others more often: then the
        weights make room first. Raises UserError where one column did not fit although no weights stay there.
        """
        forget_cached(self.device)
        if columns <= FEW and sum(store.release() for store in self._stores()):
            forget_cached(self.device)
            return columns
        if columns > 1:
            self._most = columns // 2
            return self._most
        raise UserError(
            f"{self.device} has too little free memory for one column of this map, which takes "
            f"{self._smallest() >> 20} MiB; close what else uses it, or compute on the cpu"
        )

    def _stores(self) -> list[DeviceWeights]:
        """Where devices have the weights."""
        return stores(self.operators)

    def _smallest(self) -> int:
        """Bytes that a sweep of one column takes, beside weights that stay."""
        column = self.inputs.numel() * self.inputs.element_size()
        return smallest_room(column) + coefficient_bytes(self.operators)

    def _expect(self, x: Tensor, tail: tuple[int, ...]) -> None:
        if x.shape[1:] != tail:
            raise ValueError(f"expected blocks of shape [n, {', '.join(map(str, tail))}], got {list(x.shape)}")
        if x.dtype != self.dtype:
            raise ValueError(f"this map was made in {self.dtype}; the block is {x.dtype}")
