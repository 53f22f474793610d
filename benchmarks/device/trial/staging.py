"""How fast a file's pages come into pinned memory by several threads, or to a card that reads them itself."""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.device.check import Check, Clock
from benchmarks.device.rows import Row
from benchmarks.device.storage import room_for
from benchmarks.device.trial.tried import NOW, PHASE
from ggufjac.quants.memory.road import BUFFERS, CHUNK, THREADS

#: Chunks of the file on a card's machine, and where the check itself is tried.
CHUNKS, FEW = 96, 4
#: Threads and the pieces of a chunk that they fill in turn. The first one meets pages that nobody has mapped before.
WAYS = ((8, 8), (1, 1), (4, 8), (8, 8), (8, 16), (12, 16), (16, 16), (16, 32))
#: What cudaHostRegister is told of pages that are read alone.
READ_ONLY = 8

Bytes = NDArray[np.uint8]


def rows(check: Check, clock: Clock) -> Iterator[Row]:
    gpu = check.card.device.type == "cuda"
    nbytes = CHUNK * (CHUNKS if gpu else FEW)
    with room_for(nbytes) as (path, where):
        with path.open("r+b") as file:
            chunk = np.random.default_rng(0).integers(0, 256, CHUNK, np.uint8).tobytes()
            for _ in range(nbytes // CHUNK):
                file.write(chunk)
            file.flush()
            data = np.frombuffer(mmap.mmap(file.fileno(), nbytes, access=mmap.ACCESS_READ), np.uint8)
        buffers = [torch.empty(CHUNK, dtype=torch.uint8, pin_memory=gpu).numpy() for _ in range(BUFFERS)]
        for number, (threads, pieces) in enumerate(WAYS):
            if clock.left <= 0:
                yield Row(PHASE, "staging", note="the rest was not timed: its time is over")
                return
            seconds = _copied(data, buffers, threads, pieces)
            what = "pages to pinned memory" + (", first touched" if number == 0 else "")
            way = f"{threads} threads, pieces of {CHUNK // pieces >> 20} MiB"
            note = NOW if number > 0 and threads == pieces == THREADS else where  # the road cuts one piece for a thread
            rate = nbytes / seconds / 1e9
            yield Row(PHASE, what, "", "", way, seconds, rate=rate, unit="GB/s", note=note, minor=True)
        if gpu:
            yield from _registered(check, data)


def _copied(data: Bytes, buffers: list[Bytes], threads: int, pieces: int) -> float:
    step = CHUNK // pieces
    with ThreadPoolExecutor(threads) as pool:
        since = time.perf_counter()
        for number, start in enumerate(range(0, data.nbytes, CHUNK)):
            target, source = buffers[number % len(buffers)], data[start : start + CHUNK]
            cuts = [slice(at, at + step) for at in range(0, CHUNK, step)]
            list(pool.map(lambda cut, to=target, of=source: np.copyto(to[cut], of[cut]), cuts))
        return time.perf_counter() - since


def _registered(check: Check, data: Bytes) -> Iterator[Row]:
    """The pages made known to the card, which then reads them itself."""
    runtime = torch.cuda.cudart()
    since = time.perf_counter()
    for flags in (0, READ_ONLY):
        said = int(runtime.cudaHostRegister(data.ctypes.data, data.nbytes, flags))
        if not said:
            break
        check.card.alive()  # the next operation meets the error, and takes it away
    seconds = time.perf_counter() - since
    if said:
        yield Row(PHASE, "pages registered", note=f"refused: error {said} of CUDA")
        return
    yield Row(PHASE, "pages registered", seconds=seconds, rate=data.nbytes / seconds / 1e9, unit="GB/s")
    try:
        host, there = torch.from_numpy(data), torch.empty(CHUNK, dtype=torch.uint8, device=check.card.device)
        check.card.synchronize()
        since = time.perf_counter()
        for start in range(0, data.nbytes, CHUNK):
            there.copy_(host[start : start + CHUNK], non_blocking=True)
        check.card.synchronize()
        seconds = time.perf_counter() - since
    finally:
        runtime.cudaHostUnregister(data.ctypes.data)
    yield Row(PHASE, "registered pages to the card", seconds=seconds, rate=data.nbytes / seconds / 1e9, unit="GB/s")
