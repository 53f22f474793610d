"""Standard error as reports of progress use it: nothing depends on it."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import IO, Any, cast

from rich.console import Console


def aside() -> Console:
    """A console on standard error. Where that cannot be written (its reader has left, its disk is full), what is told
    is lost and the work goes on; rich by itself would end the process, and standard output with it."""
    if sys.stderr is None:
        return Console(stderr=True, quiet=True)
    return Console(file=cast("IO[str]", _Forgiving()))


class _Forgiving:
    """Standard error, whichever it is at the moment, without its errors of writing."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)
