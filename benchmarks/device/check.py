"""What every phase is given: the device, the sizes, what the device's copies do, and the time that is left."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from benchmarks.device.arguments import Settings
from benchmarks.device.card import Card
from benchmarks.device.rows import Row


class Clock:
    """The time of a phase: what would run over its limit is not begun."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._since = time.perf_counter()

    @property
    def spent(self) -> float:
        return time.perf_counter() - self._since

    @property
    def left(self) -> float:
        return self.limit - self.spent


@dataclass
class Check:
    """copies: bytes per second that a copy on the device reads and writes, together."""

    settings: Settings
    card: Card
    clock: Clock
    copies: float

    @property
    def aims(self) -> bool:
        """Whether the aims hold here: they are those of a GPU and of models in their own size."""
        return self.settings.scale.name == "full" and self.card.device.type != "cpu"


def attempted(card: Card, row: Row, work: Callable[[], Row]) -> Row:
    """What `work` gives; a row that says what went wrong where it gives nothing, so that the others are still made.

    Where the device does not answer any more they could not be: then the exception ends the phase.
    """
    try:
        return work()
    except Exception as error:
        if not card.alive():
            raise
        note, trace = f"{type(error).__name__}: {str(error)[:300]}", traceback.format_exc()
    return replace(row, error=math.nan, allowed=0.0, note=note, trace=trace)


def relative(value: Tensor, reference: Tensor) -> float:
    """||value - reference|| / ||reference||, in float64 where the reference is."""
    value = value.detach().to(reference)
    return float((value - reference).norm() / reference.norm())
