"""Where the bytes of a synthetic model go: a file on a disk, or by many threads at once one that lies in memory."""

from __future__ import annotations

import mmap
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np


class Sink:
    """A file of a given size that takes bytes in any order. A context manager.

    With more than one thread the file is mapped and its pages are written side by side: a file system in memory lets
    only one thread at a time write into a file. A disk that is full would end the process then.
    """

    def __init__(self, path: Path, size: int, threads: int = 1) -> None:
        self._file = path.open("r+b")
        self._file.truncate(size)
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._mapped = mmap.mmap(self._file.fileno(), size) if self._pool is not None else None
        self._pending: list[Future[None]] = []

    def put(self, at: int, piece: memoryview) -> None:
        """Write bytes from an offset on; they must stay as they are until `settle`."""
        if self._pool is None:
            self._file.seek(at)
            self._file.write(piece)
        else:
            self._pending.append(self._pool.submit(self._copy, at, piece))

    def settle(self) -> None:
        """Wait until everything is written."""
        for copied in self._pending:
            copied.result()
        self._pending.clear()

    def _copy(self, at: int, piece: memoryview) -> None:
        assert self._mapped is not None
        # NumPy copies without the interpreter's lock
        np.copyto(np.frombuffer(self._mapped, np.uint8, piece.nbytes, at), np.frombuffer(piece, np.uint8))

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.settle()
        finally:
            if self._pool is not None:
                self._pool.shutdown()
            if self._mapped is not None:
                self._mapped.close()
            self._file.close()
