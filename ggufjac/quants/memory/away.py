"""Results that a device or the budget does not hold: they leave chunk by chunk."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ggufjac.quants.memory.devices import available_memory
from ggufjac.quants.memory.disk import on_disk_tensor

#: The share of the host's available memory that a result of another device may take; larger ones go to disk.
SHARE = 0.5
#: Bytes of a result that are pinned at a time: such memory is slow to make, and lost to everything else.
PINNED = 64 << 20


class Here:
    """A tensor on the device that makes its chunks."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        self._out = torch.empty(shape, dtype=dtype, device=device)

    def put(self, start: int, chunk: Tensor) -> None:
        """The rows from `start` on."""
        self._out[start : start + chunk.shape[0]] = chunk

    def whole(self) -> Tensor:
        """The tensor, once all has arrived."""
        return self._out


class Away(Here):
    """A tensor outside of the device that makes its chunks: in the host's memory, or in a file where that is too small.

    The next chunk is not begun before one has left, which takes little of the time in which it was made: beside two
    blocks of columns there is no room for it. Raises UserError when the disk has no room for the tensor either.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        there, nbytes = available_memory(), math.prod(shape) * dtype.itemsize
        hosted = device.type not in ("cpu", "meta") and there is not None and nbytes < SHARE * there
        if device.type == "meta":
            super().__init__(shape, dtype, device)
        else:
            self._out = torch.empty(shape, dtype=dtype) if hosted else on_disk_tensor(shape, dtype)
        self._pinned = device.type == "cuda" and torch.cuda.is_available()

    def put(self, start: int, chunk: Tensor) -> None:
        if not self._pinned:
            super().put(start, chunk)
            return
        before: tuple[int, Tensor, torch.cuda.Event] | None = None
        rows = max(1, PINNED // max(1, chunk[:1].nbytes))
        for at in range(0, chunk.shape[0], rows):  # a piece is stored while the next one travels
            piece = chunk[at : at + rows]
            buffer = torch.empty(piece.shape, dtype=piece.dtype, pin_memory=True)
            buffer.copy_(piece, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record(torch.cuda.current_stream(piece.device))
            if before is not None:
                self._arrive(*before)
            before = start + at, buffer, copied
        if before is not None:
            self._arrive(*before)

    def _arrive(self, start: int, buffer: Tensor, copied: torch.cuda.Event) -> None:
        copied.synchronize()
        self._out[start : start + buffer.shape[0]] = buffer
