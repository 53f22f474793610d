"""What tells one model from another whatever its file is called and wherever it lies."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from ggufjac.reader.file import GGUFFile

#: Bytes that a thread hashes at once.
PIECE = 32 << 20


def fingerprint(file: GGUFFile) -> str:
    """A hash (SHA-256, hexadecimal) of a model's metadata and of its tensors: names, types, shapes and all bytes.

    Copies of a file have the same one, also where one of them is split; a model of which one weight was changed has
    another. Every byte is read, some gigabytes a second where the disk gives them.
    """
    digest = hashlib.sha256(file.raw_metadata)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for name, info in sorted(file.tensors.items()):
            digest.update(f"{name}\0{info.type.name}\0{info.shape}\0".encode())
            for found in pool.map(_hashed, _pieces(file.data(name).reshape(-1))):
                digest.update(found)
    return digest.hexdigest()


def _pieces(packed: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    return (packed[start : start + PIECE] for start in range(0, packed.nbytes, PIECE))


def _hashed(piece: NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(piece.data).digest()
