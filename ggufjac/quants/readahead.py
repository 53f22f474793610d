"""Pages of the mapped file are asked for before they are needed, so that computing does not wait for the disk."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

WILLNEED = getattr(mmap, "MADV_WILLNEED", None)


class Readahead:
    """A thread that tells the system which weights come next. Use it as a context manager around a sweep.

    Without effect where the system takes no such advice, and for weights that do not lie in a file.
    """

    def __init__(self) -> None:
        self._madvise = None if WILLNEED is None or sys.platform == "win32" else ctypes.CDLL(None).madvise
        self._pool: ThreadPoolExecutor | None = None
        self._last: Future[None] | None = None

    def ask(self, packed: Iterable[NDArray[np.uint8]]) -> None:
        """Ask for these bytes now. A request that was not begun before the next one comes is dropped."""
        if self._madvise is None:
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "readahead")
        if self._last is not None:
            self._last.cancel()
        self._last = self._pool.submit(self._advise, list(packed))

    def __enter__(self) -> Readahead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _advise(self, packed: list[NDArray[np.uint8]]) -> None:
        assert self._madvise is not None
        for data in packed:
            start = data.ctypes.data // mmap.PAGESIZE * mmap.PAGESIZE
            length = data.ctypes.data + data.nbytes - start
            with suppress(OSError):
                self._madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), WILLNEED)
