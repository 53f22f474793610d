"""How packed bytes travel from the mapped file to a device.

On CUDA they are copied into one of a few pinned buffers by several threads, since one does not keep up with the bus,
and from there to the card on a stream of their own. The host runs ahead of the card: while layers compute whose weights
are there, the next chunks are on their way, as many as there are buffers.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Bytes that travel together, and how many such chunks are on their way at once.
CHUNK, BUFFERS = 32 << 20, 3
#: Threads that fill a pinned buffer at most, and the bytes that are worth one.
THREADS, WORTH = 8, 2 << 20


class Road:
    """Bytes are sent chunk by chunk; a chunk is there until `passed` says that its use was begun."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    #: Bytes of the device that chunks on their way take.
    reserved = 0

    def send(self, data: NDArray[np.uint8]) -> Tensor:
        """Bytes of a chunk at most, as uint8 on the device."""
        return torch.from_numpy(np.array(data)).to(self.device)

    def passed(self, there: Tensor) -> None:
        """Everything that uses this chunk has been started."""

    def settle(self, data: NDArray[np.uint8]) -> Tensor:
        """Any number of bytes, into memory of their own."""
        return self.send(data)


class CudaRoad(Road):
    """Pinned buffers in turn, each with one on the card; at most BUFFERS - 1 chunks may be in use at once."""

    reserved = CHUNK * BUFFERS

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self._stream = torch.cuda.Stream(device)
        self._slots = [_Slot.on(device) for _ in range(BUFFERS)]
        self._in_use: dict[int, _Slot] = {}
        self._threads = min(THREADS, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self._threads, "staging")

    def send(self, data: NDArray[np.uint8]) -> Tensor:
        slot = self._next(data)
        computing = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(slot.used)
            there = slot.card[: data.nbytes]
            there.copy_(slot.pinned[: data.nbytes], non_blocking=True)
            slot.copied.record(self._stream)
        computing.wait_event(slot.copied)
        self._in_use[there.data_ptr()] = slot
        self._slots.remove(slot)
        return there

    def passed(self, there: Tensor) -> None:
        slot = self._in_use.pop(there.data_ptr())
        slot.used.record(torch.cuda.current_stream(self.device))
        self._slots.append(slot)

    def settle(self, data: NDArray[np.uint8]) -> Tensor:
        flat = data.reshape(-1)
        there = torch.empty(flat.nbytes, dtype=torch.uint8, device=self.device)
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        for start in range(0, flat.nbytes, CHUNK):
            slot = self._next(part := flat[start : start + CHUNK])
            with torch.cuda.stream(self._stream):
                there[start : start + part.nbytes].copy_(slot.pinned[: part.nbytes], non_blocking=True)
                slot.copied.record(self._stream)
        torch.cuda.current_stream(self.device).wait_stream(self._stream)
        return there

    def _next(self, data: NDArray[np.uint8]) -> _Slot:
        """The buffer that was used longest ago, filled."""
        slot = self._slots.pop(0)
        self._slots.append(slot)
        slot.copied.synchronize()
        target, source = slot.pinned.numpy(), data.reshape(-1)
        pieces = max(1, min(self._threads, source.nbytes // WORTH))
        step = -(-source.nbytes // pieces)
        cuts = [slice(start, start + step) for start in range(0, source.nbytes, step)]
        for _ in self._pool.map(lambda cut: np.copyto(target[: source.nbytes][cut], source[cut]), cuts):
            pass
        return slot


@dataclass(eq=False)  # two buffers are never the same, and tensors cannot tell by ==
class _Slot:
    """A pinned buffer and its twin on the card; when its last content has left it, and when it was last used there."""

    pinned: Tensor
    card: Tensor
    copied: torch.cuda.Event
    used: torch.cuda.Event

    @classmethod
    def on(cls, device: torch.device) -> _Slot:
        pinned = torch.empty(CHUNK, dtype=torch.uint8, pin_memory=True)
        card = torch.empty(CHUNK, dtype=torch.uint8, device=device)
        return cls(pinned, card, torch.cuda.Event(), torch.cuda.Event())


def road_to(device: torch.device) -> Road:
    """The way to a device."""
    return CudaRoad(device) if device.type == "cuda" and torch.cuda.is_available() else Road(device)
