"""A checksum of a result, so that a file can be believed: that it is whole, and that it is what was written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def digest_of(text: str, arrays: Mapping[str, Tensor]) -> str:
    """SHA-256, hexadecimal, of a result's JSON and of its arrays with their names, types and shapes."""
    digest = hashlib.sha256(text.encode("utf-8"))
    for name, array in sorted(arrays.items()):
        digest.update(f"\0{name}\0{array.dtype}\0{tuple(array.shape)}\0".encode("utf-8", "backslashreplace"))
        digest.update(array.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
