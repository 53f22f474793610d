"""A lock file, so that two processes do not write the same files: pulls of one model, batches into one folder.

The lock is the system's own on the open file, so it ends with its holder, however that ends: killed, in a container
that starts again with the same process ids, on another machine of a shared disk. What the file says is for messages.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from ggufjac.errors import UserError

#: What the system answers where another process has the lock.
_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
#: Where Windows locks: bytes that are locked cannot be read there, and the file's own should be.
_FAR = 1 << 30
#: Bytes of a lock file that are read; it says less.
_SAID = 200


@contextlib.contextmanager
def locked(path: Path, what: str, done: str = "pulled") -> Iterator[None]:
    """Hold the lock file `path` while the block runs; `what` says in messages what is locked, and
    `done` what is being done to it. The file is gone afterwards.

    Raises UserError where another process holds it, or this one does already, and where it cannot be locked.
    """
    handle = _acquired(path)
    if handle is None:
        holder = _holder(path)
        raise UserError(f"{what} is being {done} by another process{holder}; wait until that ends")
    try:
        yield
    finally:
        _release(path, handle)


def abandoned(path: Path) -> bool:
    """Whether nobody holds a lock file that is there; one that cannot be looked at counts as held."""
    try:
        handle = _acquired(path)
    except UserError:
        return False
    if handle is None:
        return False
    os.close(handle)
    return True


def _acquired(path: Path) -> int | None:
    """The locked file, open; None where another process has it. Raises UserError where it cannot be locked."""
    while True:
        handle = None
        try:
            handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
            _lock(handle)
        except OSError as error:
            if handle is not None:
                os.close(handle)
                if error.errno in _HELD:
                    return None
            raise UserError(f"{path}: this lock file cannot be had ({error.strerror or error})") from None
        if _same(path, handle):
            with contextlib.suppress(OSError):  # a full disk takes no message, and holds the lock nevertheless
                os.ftruncate(handle, 0)
                os.write(handle, f"{os.getpid()} {socket.gethostname()}".encode())
            return handle
        os.close(handle)  # its holder has just removed it; another one may lie there by now


def _same(path: Path, handle: int) -> bool:
    """Whether a file is still the one that its name means."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def _release(path: Path, handle: int) -> None:
    # removed while it is held, or it might be another holder's by then; Windows removes no file that is open
    with contextlib.suppress(OSError):
        path.unlink()
    os.close(handle)


def _holder(path: Path) -> str:
    """Who holds a lock, as it says itself."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        process, _, host = file.read(_SAID).partition(" ")
        if process.isdigit():
            return f" ({process} on {host})"
    return ""


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        os.lseek(handle, _FAR, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
