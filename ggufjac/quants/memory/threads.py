"""Who computes: while products run on the kernels' threads, torch's own threads rest.

torch's worker threads spin between operations, and so do the kernels'. On the same cores they would take the processor
from each other at every hand-over. So within `kernels_first` torch works alone and the kernels get the threads that
torch was set to. What torch does between products is light where columns are few; many columns are `shared_out`: each
thread takes some of them through products and all else by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import TypeVar

import torch

from ggufjac.quants.memory.precision import all_digits

Item = TypeVar("Item")
Made = TypeVar("Made")

_granted: ContextVar[int | None] = ContextVar("kernel_threads", default=None)


def kernel_threads() -> int:
    """Threads for a product: what `kernels_first` was entered with, otherwise torch's number."""
    granted = _granted.get()
    return torch.get_num_threads() if granted is None else granted


def spare_threads() -> int:
    """Threads that columns can be `shared_out` to: those of the kernels within `kernels_first`, otherwise this one."""
    return _granted.get() or 1


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


def shared_out(work: Callable[[Item], Made], items: Iterable[Item], threads: int) -> Iterator[Made]:
    """What `work` makes of every item, in their order, on so many threads, each of which computes alone.

    To be used within `kernels_first`, where torch has one thread in each of them. No more than twice as many results as
    threads wait to be taken.
    """
    gradients = torch.is_grad_enabled()  # torch keeps it for every thread

    def alone(item: Item) -> Made:
        _granted.set(1)
        with torch.set_grad_enabled(gradients):
            return work(item)

    # MKL's number is every thread's own, which torch sets for this one only
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    waiting: deque[Future[Made]] = deque()
    try:
        for item in items:
            if len(waiting) == 2 * threads:
                yield waiting.popleft().result()
            waiting.append(pool.submit(copy_context().run, alone, item))
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
