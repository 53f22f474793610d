"""Who computes: while products run on the kernels' threads, torch's own threads rest.

torch's worker threads spin between operations, and so do the kernels'. On the same cores they would take the processor
from each other at every hand-over. What torch does between products is light, so within
`kernels_first` it works alone and the kernels get the threads that torch was set to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from ggufjac.quants.memory.precision import all_digits

_granted: ContextVar[int | None] = ContextVar("kernel_threads", default=None)


def kernel_threads() -> int:
    """Threads for a product: what `kernels_first` was entered with, otherwise torch's number."""
    granted = _granted.get()
    return torch.get_num_threads() if granted is None else granted


@contextmanager
def kernels_first() -> Iterator[None]:
    """One thread for torch, all of them for the kernels, and all digits for both; nested uses change nothing."""
    if _granted.get() is not None:
        yield
        return
    threads = torch.get_num_threads()
    token = _granted.set(threads)
    torch.set_num_threads(1)
    try:
        with all_digits():
            yield
    finally:
        torch.set_num_threads(threads)
        _granted.reset(token)
