"""Files that appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ggufjac.errors import UserError


def require_writable(*targets: str | Path | None) -> None:
    """Complain about a place that cannot be written before any work is done."""
    for target in targets:
        if target is None or target == "-":
            continue
        folder = Path(target).absolute().parent
        if Path(target).is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
            reason = "is a folder" if Path(target).is_dir() else f"its folder {folder} is missing or not writable"
            raise UserError(f"{target} cannot be written: {reason}")


def write(target: str | Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a temporary file in the target's folder, then rename it to the target."""
    path = Path(target).absolute()
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror}") from None
    os.close(handle)
    try:
        fill(Path(name))
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(name)
        if isinstance(error, OSError):
            raise UserError(f"{target} cannot be written: {error.strerror}") from None
        raise


def write_text(target: str | Path, text: str) -> None:
    """`write` for text, as UTF-8."""

    def fill(path: Path) -> None:
        path.write_text(text, encoding="utf-8")

    write(target, fill)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
