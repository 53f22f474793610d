"""Pages of the mapped file are asked for before they are needed, so that computing does not wait for the disk."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ggufjac.quants.tensor import QuantTensor

#: How many layers ahead a sweep asks for, so that the disk has work while layers are met that need none.
AHEAD = 2
#: Bytes of one request: Linux reads no more of a longer one than the device's read-ahead, 128 KiB unless it was raised.
REQUEST = 128 << 10
WILLNEED = getattr(mmap, "MADV_WILLNEED", None)


class Readahead:
    """A thread that tells the system which weights come next and which were met. A context manager around a sweep.

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
        if self._last is not None:
            self._last.cancel()
        if asked := list(packed):  # none where all weights are on a device: a thread would take its turns for nothing
            self._last = self._thread().submit(self._advise, asked)

    def leave(self, weights: Iterable[QuantTensor]) -> None:
        """Say that these were visited: the system may forget those that pass."""
        for weight in {weight.name: weight for weight in weights if weight.passes}.values():
            self.later(weight.leave)

    def later(self, work: Callable[[], None]) -> None:
        """Do this after what was asked for."""
        self._thread().submit(work)

    def _thread(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "readahead")
        return self._pool

    def __enter__(self) -> Readahead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._last is not None:
            self._last.cancel()
        if self._pool is not None:
            self._pool.shutdown(wait=True)

    def _advise(self, packed: list[NDArray[np.uint8]]) -> None:
        assert self._madvise is not None
        for data in packed:
            start = data.ctypes.data // mmap.PAGESIZE * mmap.PAGESIZE
            end = data.ctypes.data + data.nbytes
            for at in range(start, end, REQUEST):
                self._madvise(ctypes.c_void_p(at), ctypes.c_size_t(min(REQUEST, end - at)), WILLNEED)
