"""Files that appear whole or not at all: written beside their place, brought to the disk, then renamed.

Every output goes through here, so that all keep the same manners: a link is followed, a file keeps its mode and owner,
and what is no regular file (a device, a pipe) or is where a standard stream goes already is written in place.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ggufjac.errors import UserError
from ggufjac.readable import visible

#: Letters of a file's name that its temporary file begins with; a name may have 255 bytes, a letter four of them.
KEPT = 50


def require_writable(*targets: str | Path | None) -> None:
    """Complain about a place that cannot be written before any work is done. Raises UserError."""
    for target in targets:
        if target is None or target == "-":
            continue
        reason = _obstacle(Path(target))
        if reason:
            raise UserError(f"{target} cannot be written: {reason}")


def write(target: str | Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a temporary file beside the target, bring it to the disk, and rename it to the target; or, where
    that cannot be replaced, hand its bytes over.

    Raises UserError where it cannot be written, in which case the target is as it was.
    """
    found = _status(target)
    in_place = found is not None and (not stat.S_ISREG(found.st_mode) or _stream_of(found) is not None)
    path = Path(os.path.realpath(target))
    try:
        folder = tempfile.gettempdir() if in_place else path.parent
        handle, name = tempfile.mkstemp(dir=folder, prefix=f".{path.name[:KEPT]}.")
        os.close(handle)
        try:
            fill(Path(name))
            if found is not None and in_place:
                _hand_over(name, target, found)
            else:
                _settle(name, path, found)
        finally:
            with suppress(OSError):  # after the rename there is none
                os.unlink(name)
    except BrokenPipeError:
        raise  # a reader who left; that is no mistake
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}") from None


def write_text(target: str | Path, text: str) -> None:
    """`write` for text, as UTF-8; halves of characters are written as escapes, which in JSON are JSON's own."""

    def fill(path: Path) -> None:
        path.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")

    write(target, fill)


def settled(folder: str | Path) -> None:
    """Bring the entries of a folder to the disk: the names of files that were made, renamed or removed in it."""
    if os.name == "nt":  # folders cannot be opened there, and their entries are written with the files
        return
    with suppress(OSError):  # some file systems know no such thing
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _obstacle(target: Path) -> str:
    """Why a place cannot be written; "" where it can."""
    if too_long(target):
        return "the name is too long"
    if target.is_dir():
        return "is a folder"
    found = _status(target)
    if found is not None and not os.access(target, os.W_OK):
        return "it is read-only"
    if found is not None and not stat.S_ISREG(found.st_mode):
        return ""
    folder = Path(os.path.realpath(target)).parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return f"its folder {visible(str(folder))} is missing or not writable"
    return ""


def too_long(target: Path) -> bool:
    """Whether no file can be called so."""
    try:
        os.stat(target)
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    except ValueError:
        pass
    return False


def _status(target: str | Path) -> os.stat_result | None:
    """What is there, at the end of all links; None where there is nothing, or nobody may look."""
    try:
        return os.stat(target)
    except (OSError, ValueError):
        return None


def _stream_of(found: os.stat_result) -> int | None:
    """The standard stream that goes to a file already: what is written in its place would hide what the stream says."""
    for handle in (1, 2):
        with suppress(OSError):
            if os.path.samestat(found, os.fstat(handle)):
                return handle
    return None


def _hand_over(name: str, target: str | Path, found: os.stat_result) -> None:
    """Copy a file's bytes into what is there already."""
    stream = _stream_of(found)
    if stream is not None and sys.stdout is not None:
        sys.stdout.flush()  # what was printed before comes before
    handle = os.dup(stream) if stream is not None else os.open(target, os.O_WRONLY | getattr(os, "O_BINARY", 0))
    with open(name, "rb") as source, open(handle, "wb") as sink:
        shutil.copyfileobj(source, sink)


def _settle(name: str, path: Path, found: os.stat_result | None) -> None:
    """Give a file that is written the mode and the owner of the one that it replaces, and its place."""
    with open(name, "rb+") as file:
        os.fsync(file.fileno())
    if found is not None and hasattr(os, "chown"):
        with suppress(OSError):  # only root may give files away
            os.chown(name, found.st_uid, found.st_gid)
    os.chmod(name, 0o666 & ~_umask() if found is None else stat.S_IMODE(found.st_mode))
    os.replace(name, path)
    settled(path.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
