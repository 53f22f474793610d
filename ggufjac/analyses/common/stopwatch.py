"""How long each step of an analysis took, told as it begins."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

#: Told what is being done now, for a progress display.
Progress: TypeAlias = "Callable[[str], None]"


def silent(_: str) -> None:
    """Whom to tell how it goes where nobody wants to know."""


class Stopwatch:
    """Seconds per named step, announced as they begin; a name that comes again is added to."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._seconds: dict[str, float] = {}
        self._name = ""
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        self.stop()
        self._name = name
        self._progress(name)

    def stop(self) -> dict[str, float]:
        now = time.perf_counter()
        if self._name:
            self._seconds[self._name] = self._seconds.get(self._name, 0.0) + now - self._since
        self._name = ""
        self._since = now
        return self._seconds
