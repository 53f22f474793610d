"""Packed weights as a torch device sees them: they travel in tiles and are expanded where they are multiplied.

What fits a share of the device's memory stays there between sweeps; the rest is streamed. On CUDA a tile is copied
through one of two pinned buffers on a stream of its own, so that the next one travels while this one is multiplied.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ggufjac.quants.tensor import QuantTensor
from ggufjac.quants.torch_formats import dequantize_blocks

#: Weights expanded at a time on a device: 16 Mi weights are 64 MiB in float32, a few times that while they are made.
TILE_WEIGHTS = 1 << 24


class DeviceWeights:
    """The packed weights of a model as one device sees them.

    keep: bytes of packed weights that may stay on the device; those asked for first stay, since sweeps visit all
    weights in turn.
    """

    def __init__(self, device: torch.device, keep: int = 0) -> None:
        self.device = device
        self.keep = keep
        self.kept_bytes = 0
        self._kept: dict[tuple[int, int], Tensor] = {}
        self._staging = _Pinned(device) if device.type == "cuda" and torch.cuda.is_available() else None

    def tiles(self, weight: QuantTensor, dtype: torch.dtype) -> Iterator[tuple[int, Tensor]]:
        """(first row, expanded rows [m, n_in]) one after the other."""
        step = max(1, TILE_WEIGHTS // max(1, weight.n_in))
        for start in range(0, weight.n_out, step):
            rows = weight.rows(start, start + step)
            blocks = self._packed(rows).reshape(-1, weight.type.block_bytes)
            yield start, dequantize_blocks(weight.type, blocks).reshape(rows.shape).to(dtype)

    def _packed(self, rows: QuantTensor) -> Tensor:
        key = rows.data.ctypes.data, rows.nbytes
        found = self._kept.get(key)
        if found is None:
            found = self._send(rows.data)
            # an array that lies in no file is gone with its owner, and the next one may lie at its address
            if rows.pages is not None and self.kept_bytes + rows.nbytes <= self.keep:
                self._kept[key] = found
                self.kept_bytes += rows.nbytes
        return found

    def _send(self, data: NDArray[np.uint8]) -> Tensor:
        if self._staging is not None:
            return self._staging.send(data)
        return torch.from_numpy(np.array(data)).to(self.device)


class _Pinned:
    """Two pinned buffers in turn, and the stream on which they are copied to the device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._slots = [_Slot(torch.empty(0, dtype=torch.uint8), None) for _ in range(2)]

    def send(self, data: NDArray[np.uint8]) -> Tensor:
        slot = self._slots[0]
        self._slots.reverse()
        if slot.copied is not None:
            slot.copied.synchronize()
        if slot.buffer.numel() < data.nbytes:
            slot.buffer = torch.empty(data.nbytes, dtype=torch.uint8, pin_memory=True)
        staged = slot.buffer[: data.nbytes]
        np.copyto(staged.numpy(), data.reshape(-1))
        computing = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            sent = staged.to(self._device, non_blocking=True)
            slot.copied = torch.cuda.Event()
            slot.copied.record(self._stream)
        computing.wait_event(slot.copied)
        sent.record_stream(computing)
        return sent


@dataclass
class _Slot:
    """A pinned buffer, and the event that tells when its last content has left it."""

    buffer: Tensor
    copied: torch.cuda.Event | None


def store_on(device: torch.device, keep: int) -> DeviceWeights | None:
    """The weights on a device of its own, of which `keep` bytes stay there; None on the CPU, which has the file."""
    return None if device.type == "cpu" else DeviceWeights(device, keep)
