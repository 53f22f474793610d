"""The packed weights of a model as a torch device sees them: those that fit stay there, the others stream by.

Which ones stay is said layer by layer (`arrange`), evenly spread, so that the others arrive while these compute.
Without that, those that are asked for first stay, as long as there is room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ggufjac.quants.memory.budget import Budget
from ggufjac.quants.memory.road import CHUNK, Road, road_to
from ggufjac.quants.memory.spread import evenly_spread
from ggufjac.quants.tensor import QuantTensor

if TYPE_CHECKING:
    from ggufjac.quants.device.kernels import Kernels

#: Rows that the pieces of a matrix are multiples of.
EVEN = 128


class DeviceWeights:
    """The packed weights of one model on one device.

    keep: bytes of packed weights that may stay on the device. kernels: what multiplies with them there (None: the best
    that the device has); road: how they get there.
    """

    def __init__(
        self, device: torch.device, keep: int = 0, kernels: Kernels | None = None, road: Road | None = None
    ) -> None:
        self.device = device
        self.keep = keep
        self.kept_bytes = 0
        self._kept: dict[tuple[str, int, int], Tensor] = {}
        self._names: Counter[str] = Counter()  # of those; layers of experts are asked for many times a sweep
        self._guests: dict[tuple[str, int, int], Tensor | None] = {}
        self._stay: frozenset[str] | None = None
        self.arranged = False
        self._kernels, self._given = kernels, road

    @cached_property
    def kernels(self) -> Kernels:
        from ggufjac.quants.device.choice import kernels_of

        return self._kernels or kernels_of(self.device)

    @cached_property
    def road(self) -> Road:
        return self._given or road_to(self.device)

    def arrange(self, layers: Sequence[Sequence[QuantTensor]]) -> None:
        """Keep what fits of the tensors that every sweep reads, named layer by layer in their order, and no others.

        A layer stays as a whole or not at all.
        """
        parts = [{_key(weight): weight.nbytes for weight in layer} for layer in layers]  # experts share a name
        stay = evenly_spread([sum(sizes.values()) for sizes in parts], self.keep)
        self.arranged = True
        self._stay = frozenset(key[0] for sizes, stays in zip(parts, stay, strict=True) if stays for key in sizes)
        for key in [key for key in self._kept if key[0] not in self._stay]:
            self._let_go(key)

    def release(self) -> bool:
        """Keep half as much from now on, because the device ran out of memory; whether anything was let go."""
        before, self.keep = self.kept_bytes, self.kept_bytes // 2
        while self.kept_bytes > self.keep:
            self._let_go(next(reversed(self._kept)))
        return self.kept_bytes < before

    def stays(self, name: str) -> bool:
        """Whether the tensor of this name was chosen to stay."""
        return self._stay is not None and name in self._stay

    def holds(self, name: str) -> bool:
        """Whether a tensor of this name, or a part of it, is on the device already."""
        return self._names[name] > 0

    def has(self, weight: QuantTensor) -> bool:
        """Whether these weights are there already."""
        return _key(weight) in self._kept

    def chunks(self, weight: QuantTensor) -> Iterator[tuple[slice, Tensor]]:
        """Rows of W and their packed bytes, uint8 [rows, row_bytes], one part after the other.

        The bytes are there until the next part is asked for.
        """
        if (there := self._found(weight)) is not None or (there := self._settled(weight)) is not None:
            yield slice(0, weight.n_out), there.reshape(weight.n_out, -1)
            return
        step = even_rows(CHUNK // max(1, weight.nbytes // max(1, weight.n_out)))
        for start in range(0, weight.n_out, step):
            rows = weight.rows(start, start + step)
            there = self.road.send(rows.data)
            try:
                yield slice(start, start + rows.n_out), there.reshape(rows.n_out, -1)
            finally:
                self.road.passed(there)

    @contextmanager
    def at_hand(self, weights: Iterable[QuantTensor], room: int) -> Iterator[None]:
        """Those of these weights that do not stay are there until the end of this, once they are asked for, if `room`
        bytes hold them: several pieces of a block meet them, and they come but once."""
        met = {_key(weight): weight.nbytes for weight in weights if _key(weight) not in self._kept}
        self._guests = dict.fromkeys(met) if sum(met.values()) <= room else {}
        try:
            yield
        finally:
            self._guests = {}

    def _found(self, weight: QuantTensor) -> Tensor | None:
        """The bytes of weights that are there already."""
        key = _key(weight)
        return self._kept.get(key, self._guests.get(key))

    def _settled(self, weight: QuantTensor) -> Tensor | None:
        """The bytes that have come to stay, or for a while; None for those that stream by."""
        # Left to itself the store keeps what lies in a file: others are gone some day, and one like them may come.
        stays = weight.pages is not None if self._stay is None else weight.name in self._stay
        if not stays or self.kept_bytes + weight.nbytes > self.keep:
            if _key(weight) in self._guests:
                self._guests[_key(weight)] = self.road.settle(weight.data)
            return self._guests.get(_key(weight))
        there = self.road.settle(weight.data)
        self._kept[_key(weight)] = there
        self._names[weight.name] += 1
        self.kept_bytes += weight.nbytes
        return there

    def _let_go(self, key: tuple[str, int, int]) -> None:
        self.kept_bytes -= self._kept.pop(key).nbytes
        self._names[key[0]] -= 1


def even_rows(most: int) -> int:
    """So many rows or a few less, such that the library's fast products, which want columns of results to begin at
    even addresses, serve all pieces of a matrix."""
    return max(1, most - most % EVEN if most > EVEN else most)


def _key(weight: QuantTensor) -> tuple[str, int, int]:
    return weight.name, weight.first, weight.n_out


@dataclass(frozen=True)
class Placed:
    """Where a model's weights are for one device: its budget, and the store; None on the CPU, which has the file."""

    budget: Budget
    store: DeviceWeights | None

    @classmethod
    def on(cls, device: torch.device, memory: int | None, packed: int) -> Placed:
        """memory: bytes that everything may take there; packed: those of all weights."""
        budget = Budget.on(device, memory, packed)
        return cls(budget, None if device.type == "cpu" else DeviceWeights(device, budget.weights))
