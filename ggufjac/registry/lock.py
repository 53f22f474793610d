"""A lock file, so that two processes do not write the same files: pulls of one model, batches into one folder."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ggufjac.errors import UserError

#: Seconds for which a lock file that says nothing counts as one that is being written.
_GRACE = 5.0


@contextlib.contextmanager
def locked(path: Path, what: str, done: str = "pulled") -> Iterator[None]:
    """Hold the lock file `path` while the block runs; `what` says in messages what is locked, and
    `done` what is being done to it.

    The file holds the process id and the host of its owner. A lock whose process is gone is taken over.
    Raises UserError where another process holds it.
    """
    owner = f"{os.getpid()} {socket.gethostname()}"
    while not _created(path, owner):
        holder = _read(path)
        if holder is None:
            continue
        if not _stale(path, holder):
            process = holder.split(" ")[0] or "unknown"
            raise UserError(f"{what} is being {done} by another process ({process}); if that is not so, delete {path}")
        _remove(path, holder)
    try:
        yield
    finally:
        if _read(path) == owner:
            path.unlink(missing_ok=True)


def _created(path: Path, owner: str) -> bool:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(owner)
    return True


def _read(path: Path) -> str | None:
    """What a lock file says; None where it is gone."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _stale(path: Path, holder: str) -> bool:
    process, _, host = holder.partition(" ")
    if not process.isdigit():
        # Its owner died, or is about to write it.
        try:
            return time.time() - path.stat().st_mtime > _GRACE
        except FileNotFoundError:
            return False
    # Of another host's processes nothing can be known from here.
    return host == socket.gethostname() and not _alive(int(process))


def _remove(path: Path, holder: str) -> None:
    """Remove a stale lock, but not the one that a faster process has put in its place meanwhile."""
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if _read(aside) != holder:
        with contextlib.suppress(OSError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    if sys.platform == "win32":  # there, os.kill(pid, 0) would send the process a Ctrl-C
        import ctypes

        synchronize = 0x00100000
        handle = ctypes.windll.kernel32.OpenProcess(synchronize, False, process)
        if handle:
            ctypes.windll.kernel32.CloseHandle(handle)
        return bool(handle)
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
