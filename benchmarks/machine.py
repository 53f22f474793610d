"""What the machine is, what its disk and its memory do: read from /proc, so on Linux only."""

from __future__ import annotations

import mmap
import os
import platform
import threading
import time
from importlib.metadata import version
from pathlib import Path
from types import TracebackType

from ggufjac.quants.native import isa
from ggufjac.reader import GGUFFile

#: Read in one request when the disk's rate is measured, and in all.
REQUEST, SAMPLE = 16 << 20, 2 << 30
#: Seconds between two looks at the memory in use.
TICK = 0.01


def machine() -> str:
    """One line: processor, cores, memory, instruction set, versions, and how busy the machine is already."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    processor = names[0].partition(":")[2].strip() if names else platform.processor()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{processor}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, {isa()}; "
        f"Python {platform.python_version()}, torch {version('torch')}, "
        f"llama-cpp-python {version('llama-cpp-python')}; load average at the start {os.getloadavg()[0]:.1f}"
    )


def evict(file: GGUFFile) -> None:
    """Drop the model from the page cache, so that the next pass reads it from the disk.

    Pages that this process has mapped are let go first: the system keeps those that are in use.
    """
    for name in file.tensors:
        file.advise(name, "dontneed")
    for path in file.paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def disk_rate(path: Path) -> float:
    """Bytes per second of one sequential pass over (the first part of) a file that is not in the page cache.

    Read past the cache where the file system allows it, in requests of 16 MiB: what the disk itself gives.
    """
    wanted = min(path.stat().st_size, SAMPLE)
    with mmap.mmap(-1, REQUEST) as room, memoryview(room) as buffer:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECT)
        except OSError:
            handle = os.open(path, os.O_RDONLY)
        try:
            done, since = 0, time.perf_counter()
            while done < wanted:
                done += os.preadv(handle, [buffer], done)
            return done / (time.perf_counter() - since)
        finally:
            os.close(handle)


def bytes_read() -> int:
    """What this process has had read from disks so far, pages of mapped files included."""
    return _field("/proc/self/io", "read_bytes")


class AnonymousMemory:
    """The largest RssAnon of /proc/self/status while inside: resident memory without any mapped file, in bytes."""

    def __enter__(self) -> AnonymousMemory:
        self.peak = _anonymous()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self.peak = max(self.peak, _anonymous())

    def _watch(self) -> None:
        while not self._over.wait(TICK):
            self.peak = max(self.peak, _anonymous())


def _anonymous() -> int:
    return _field("/proc/self/status", "RssAnon") << 10


def _field(path: str, name: str) -> int:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    raise OSError(f"{path} has no {name}")
