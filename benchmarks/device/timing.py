"""Times on a device: of a kernel that takes microseconds, and of an analysis that takes minutes."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.device.card import Card

#: Seconds that one look at the clock spans at least, so that waiting for the device does not count.
SPAN = 5e-3


@dataclass(frozen=True)
class Times:
    """Seconds: the median, the fastest, and the first one, which warmed up. captured: without Python's time."""

    median: float
    least: float
    first: float
    runs: int
    captured: bool = False


def elapsed(card: Card, work: Callable[[], object]) -> float:
    card.synchronize()
    since = time.perf_counter()
    work()
    card.synchronize()
    return time.perf_counter() - since


def each(card: Card, works: Sequence[Callable[[], object]], seconds: float, *, captured: bool = False) -> Times:
    """The time of one of several alike that run in turn, so that the cache holds nothing of the one that comes next.

    captured: replayed as a graph where the device has such a thing, without Python's time.
    """
    first = elapsed(card, works[0])
    for work in works:
        work()
    run = Card.captured(card, works)
    if captured:
        try:
            run = card.captured(works)
        except RuntimeError:  # something in it cannot be part of a graph
            captured = False
    once = max(elapsed(card, run), 1e-9)
    together = max(1, math.ceil(min(SPAN, seconds) / once))
    taken: list[float] = []
    while len(taken) < 3 or (sum(taken) < seconds and len(taken) < 50):
        taken.append(elapsed(card, lambda: [run() for _ in range(together)]))
    per = [t / together / len(works) for t in taken]
    return Times(statistics.median(per), min(per), first, len(per), captured)


def whole(card: Card, work: Callable[[], float | None], patience: float = 10.0, most: int = 5) -> Times:
    """The time of something long: once to warm up, then again as long as that takes no more than `patience` in all.

    What took longer at its first run is not run again. work: may tell its time itself, where not all of it counts.
    """

    def run() -> float:
        told: list[float | None] = []
        spent = elapsed(card, lambda: told.append(work()))
        return spent if told[0] is None else told[0]

    first = run()
    taken: list[float] = []
    while len(taken) < most and sum(taken) + first <= patience:
        taken.append(run())
    counted = taken or [first]
    return Times(statistics.median(counted), min(counted), first, len(counted))
