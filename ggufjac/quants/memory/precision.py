"""float32 is multiplied as float32, whatever torch was told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

#: torch's name for products that keep all digits, and for those of which a card keeps eleven.
ALL, ELEVEN = "highest", "high"


@contextmanager
def all_digits() -> Iterator[None]:
    """Products of float32 keep theirs inside: a program may allow others, and NVIDIA's containers do (by the variable
    TORCH_ALLOW_TF32_CUBLAS_OVERRIDE)."""
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # it was set by the newer of torch's two ways, for CUDA alone
        before = ELEVEN
    if before == ALL:
        yield
        return
    torch.set_float32_matmul_precision(ALL)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
