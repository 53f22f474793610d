"""How long each step of an analysis took, told as it begins, and how far the step has come."""

from __future__ import annotations

import time


class Progress:
    """Is told how an analysis goes on. This one keeps silent; others show it (ggufjac.reports.progress)."""

    def lap(self, step: str) -> None:
        """The step of this name begins; the one before is done."""

    def passed(self, columns: int) -> None:
        """So many columns have passed one more layer of a sweep."""


#: Whom to tell where nobody wants to know.
silent = Progress()


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
        self._progress.lap(name)

    def stop(self) -> dict[str, float]:
        now = time.perf_counter()
        if self._name:
            self._seconds[self._name] = self._seconds.get(self._name, 0.0) + now - self._since
        self._name = ""
        self._since = now
        return self._seconds
