"""Tensors that lie in a file, for results that the memory budget does not hold."""

from __future__ import annotations

import math
import mmap
import os
import shutil
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from ggufjac.errors import UserError

#: Bytes that are written at a time, where the system reserves no place otherwise.
PIECE = 1 << 24


def on_disk_tensor(shape: tuple[int, ...], dtype: torch.dtype, folder: str | Path | None = None) -> Tensor:
    """An uninitialised tensor whose values lie in a nameless file in `folder` (None: the system's temporary folder).

    The file is gone when the tensor is. Its place on the disk is reserved: a page that the disk could not hold any more
    would end the process when it is written. Raises UserError when the disk has no room for it.
    """
    where = Path(tempfile.gettempdir() if folder is None else folder)
    nbytes = math.prod(shape) * dtype.itemsize
    free = shutil.disk_usage(where).free
    if nbytes > free:
        raise _no_room(where, nbytes)
    try:
        with tempfile.TemporaryFile(dir=where) as file:
            _reserve(file.fileno(), nbytes)
            mapped = mmap.mmap(file.fileno(), nbytes)
    except OSError:
        raise _no_room(where, nbytes) from None
    return torch.frombuffer(mapped, dtype=dtype).reshape(shape)


def _no_room(where: Path, nbytes: int) -> UserError:
    free = shutil.disk_usage(where).free
    return UserError(
        f"{where}: the result takes {nbytes >> 20} MiB and {free >> 20} MiB are free; "
        "set TMPDIR to a folder with more room, or allow more memory"
    )


def _reserve(handle: int, nbytes: int) -> None:
    """Make a file so long, with its place on the disk. Raises OSError where there is none."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, nbytes)
        return
    zeros = bytes(min(nbytes, PIECE))  # macOS, Windows: what is written has its place
    for start in range(0, nbytes, PIECE):
        os.write(handle, zeros[: nbytes - start])
