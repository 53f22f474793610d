"""What tells one model from another whatever its file is called and wherever it lies."""

from __future__ import annotations

import hashlib

from ggufjac.reader.file import GGUFFile

#: Bytes of every tensor that are looked at: so many pieces of so many bytes, evenly spaced.
PIECES, PIECE = 8, 4096


def fingerprint(file: GGUFFile) -> str:
    """A hash (SHA-256, hexadecimal) of a model's metadata, its tensors' names, types and shapes, and samples of each.

    Copies of a file have the same one; another quantisation, training or tokenizer has another. It is not a checksum of
    the whole: that would read every byte, and models may be larger than memory.
    """
    digest = hashlib.sha256(file.raw_metadata)
    for name, info in sorted(file.tensors.items()):
        digest.update(f"{name}\0{info.type.name}\0{info.shape}\0".encode())
        packed = file.data(name).reshape(-1)
        if packed.nbytes <= PIECES * PIECE:
            digest.update(packed.data)
            continue
        last = packed.nbytes - PIECE
        for i in range(PIECES):
            start = i * last // (PIECES - 1)
            digest.update(packed[start : start + PIECE].data)
    return digest.hexdigest()
