"""Wall time of a function, the fastest and the median of several runs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def timed(work: Callable[[], object], runs: int = 5) -> tuple[float, float]:
    """(fastest, median) seconds after one run that does not count."""
    work()
    seconds = []
    for _ in range(runs):
        since = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - since)
    return min(seconds), statistics.median(seconds)
