"""A place in memory for a model's file."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHARED = Path("/dev/shm")
#: Bytes that stay free.
LEAVE = 1 << 30


@contextmanager
def room_for(nbytes: int) -> Iterator[tuple[Path, str]]:
    """(an empty file, where it lies): in /dev/shm if that has the room, else without a name in memory, else on a disk.

    The file is gone afterwards. Raises RuntimeError where there is no room at all.
    """
    if SHARED.is_dir() and shutil.disk_usage(SHARED).free >= nbytes + LEAVE:
        with tempfile.TemporaryDirectory(dir=SHARED) as folder:
            yield _touched(Path(folder)), str(SHARED)
    elif hasattr(os, "memfd_create") and _available() >= nbytes + LEAVE:
        handle = os.memfd_create("model")
        try:
            yield Path(f"/proc/{os.getpid()}/fd/{handle}"), "memory without a name: /dev/shm is too small"
        finally:
            os.close(handle)
    else:
        with tempfile.TemporaryDirectory() as folder:
            if shutil.disk_usage(folder).free < nbytes + LEAVE:
                raise RuntimeError(f"there is no room for {nbytes / 1e9:.1f} GB, neither in memory nor in {folder}")
            yield _touched(Path(folder)), f"{folder}, on a disk: memory has no room"


def _touched(folder: Path) -> Path:
    path = folder / "model.gguf"
    path.touch()
    return path


def _available() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0
