"""Where every byte of `--memory` goes, for the planner and the map alike.

total
  weights       packed bytes that stay on a device of its own, and those on their way there: as many as there are, up
                to three quarters (on the CPU none, the mapped file serves there)
  values        the rest
    coefficients  at most half of the values; layers beyond that are made anew whenever they are needed
    states        what enters and leaves the blocks
    room          what is left beside both for columns, at least a quarter of the values
      inside        what lives within a layer while columns pass it, half of that for folded MLPs
      columns       two blocks of them
    search        of a room, what a search for triplets of many maps may hold; the rest is for its sweeps
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from ggufjac.errors import UserError
from ggufjac.quants.memory.devices import default_budget

#: The share of a room that the values inside a layer may take, half of it for folded MLPs; the rest is for the columns.
INSIDE = 0.25
#: The share of a device's budget that its packed weights may take.
WEIGHTS = 0.75
#: The share of a room that the vectors of a search for triplets may take; the rest is for sweeps.
SEARCH = 0.5


@dataclass(frozen=True)
class Budget:
    """Bytes. total: of all; weights: that stay on a device; states, coefficients: that are held already."""

    total: int
    weights: int = 0
    states: int = 0
    coefficients: int = 0

    @classmethod
    def on(cls, device: torch.device, memory: int | None = None, packed: int | None = None) -> Budget:
        """So many bytes on a device (None: `default_budget`); packed: those of all weights."""
        total = default_budget(device) if memory is None else memory
        if device.type == "cpu":
            return cls(total)
        most = int(WEIGHTS * total)
        return cls(total, weights=most if packed is None else min(most, packed))

    def holding(self, *, states: int | None = None, coefficients: int | None = None) -> Budget:
        """The same once so much is held."""
        return replace(
            self,
            states=self.states if states is None else states,
            coefficients=self.coefficients if coefficients is None else coefficients,
        )

    def require_states(self, state: int, n_states: int, n_tokens: int) -> None:
        """Raise UserError where the states of a pass, of so many bytes each, leave less than half of the values to the
        map. The smallest budget that it names holds a column of the map as well."""
        if 2 * n_states * state > self.values:
            need = math.ceil(max(2 * n_states * state, 4 * smallest_room(state)) / 2**20) + (self.weights >> 20)
            raise UserError(
                f"the memory budget of {self.total >> 20} MiB does not hold the states of {n_tokens} tokens; "
                f"the smallest is {need} MiB"
            )

    def less(self, taken: int) -> Budget:
        """The same beside so many bytes that others hold, as far as half of the values go."""
        return replace(self, total=self.total - min(taken, self.values // 2))

    @property
    def values(self) -> int:
        return self.total - self.weights

    @property
    def most_coefficients(self) -> int:
        """What a pass may keep of its coefficients."""
        return self.values // 2

    @property
    def map(self) -> int:
        """For a map, beside the states from which it was made: its coefficients and its columns."""
        return max(self.values - self.states, self.values // 2)

    @property
    def room(self) -> int:
        """For the columns of a map and what they become inside a layer."""
        return max(self.map - self.coefficients, self.map // 2)

    @property
    def search(self) -> int:
        """For the vectors of a search for the triplets of many maps."""
        return int(SEARCH * self.room)

    @property
    def beside_search(self) -> int:
        """The room that is left for the sweeps of such a search."""
        return int((1 - SEARCH) * self.room)


def columns_within(room: int, column_bytes: int) -> int:
    """How many columns of the given size fit: two blocks of them live at once, beside what a layer needs inside.

    Raises UserError where not even one fits.
    """
    columns = int((1 - INSIDE) * room) // (2 * column_bytes)
    if columns < 1:
        need = math.ceil(smallest_room(column_bytes) / 2**20)
        raise UserError(f"the memory budget of {room >> 20} MiB does not hold one column; the smallest is {need} MiB")
    return columns


def smallest_room(column_bytes: int) -> int:
    """Bytes that one column takes with what lives beside it."""
    return math.ceil(2 * column_bytes / (1 - INSIDE))


def folded_within(room: int) -> int:
    """Bytes that folded MLPs may take, and as many that other values inside a layer may."""
    return int(INSIDE / 2 * room)


def search_columns(budget: Budget, column_bytes: int, fewest: int, k: int) -> int:
    """How many vectors a search for k triplets may hold. Raises UserError where that is less than `fewest` for each."""
    held = budget.search // column_bytes
    if held < fewest * k:
        need = int(fewest * k * column_bytes / SEARCH) >> 20
        raise UserError(f"the memory budget does not hold the search for {k} triplets; the smallest is {need} MiB")
    return held
