"""Tensors that lie in a file, for results that the memory budget does not hold."""

from __future__ import annotations

import math
import mmap
import shutil
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from ggufjac.errors import UserError


def on_disk_tensor(shape: tuple[int, ...], dtype: torch.dtype, folder: str | Path | None = None) -> Tensor:
    """An uninitialised tensor whose values lie in a nameless file in `folder` (None: the system's temporary folder).

    The file is gone when the tensor is. Raises UserError when the disk has no room for it.
    """
    where = Path(tempfile.gettempdir() if folder is None else folder)
    nbytes = math.prod(shape) * dtype.itemsize
    free = shutil.disk_usage(where).free
    if nbytes > free:
        raise UserError(
            f"{where}: the result takes {nbytes >> 20} MiB and {free >> 20} MiB are free; "
            "set TMPDIR to a folder with more room, or allow more memory"
        )
    with tempfile.TemporaryFile(dir=where) as file:
        file.truncate(nbytes)
        mapped = mmap.mmap(file.fileno(), nbytes)
    return torch.frombuffer(mapped, dtype=dtype).reshape(shape)
