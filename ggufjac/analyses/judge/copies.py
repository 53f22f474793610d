"""Temporary float32 copies of models, large as they are: gone when they are no longer needed, however that comes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.quants import native
from ggufjac.reader.expand import expand_f32, expanded_size
from ggufjac.registry.lock import abandoned, locked

#: How the folders of copies are called, and what in each of them says that its owner lives.
PREFIX, LOCK = "ggufjac-twin-", "lock"


@contextmanager
def expanded(model: Model, directory: Path | None = None) -> Iterator[Path]:
    """A temporary float32 copy of the model, removed afterwards, and those that dead processes have left with it.

    Who has opened it may remove it at once (`forget`). Raises UserError when it would not fit on the disk or in memory.
    """
    where = Path(tempfile.gettempdir() if directory is None else directory)
    size = expanded_size(model.file)
    sweep(where)
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, dir=where, ignore_cleanup_errors=True) as folder,
        locked(Path(folder) / LOCK, folder, "used"),
    ):
        _require_room(model, size, folder)
        path = Path(folder) / "twin.gguf"
        expand_f32(model.file, path, native.dequantize)
        model.require_unchanged()
        yield path


def forget(path: Path) -> None:
    """Remove a copy that llama.cpp has mapped: the system keeps its bytes for as long as they are used, and not longer,
    even where this process is killed. Where it cannot (Windows), the copy stays until it is closed."""
    try:
        path.unlink()
    except OSError:
        return


def sweep(where: Path) -> None:
    """Remove the copies of processes that ended without doing so: nobody holds their locks."""
    for folder in where.glob(f"{PREFIX}*"):
        # one without its lock may be about to get it
        if (folder / LOCK).exists() and abandoned(folder / LOCK):
            shutil.rmtree(folder, ignore_errors=True)


def _require_room(model: Model, size: int, folder: str) -> None:
    free = shutil.disk_usage(folder).free
    if size > 0.9 * free:
        raise UserError(
            f"{model.file.path}: its float32 copy needs {size / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB free; "
            "give a roomier place with --tmp DIR, or run the direct check alone"
        )
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return
    if size > 0.8 * memory:
        raise UserError(
            f"{model.file.path}: its float32 copy of {size / 1e9:.1f} GB does not fit in this machine's "
            f"{memory / 1e9:.1f} GB of memory; run the direct check alone"
        )
