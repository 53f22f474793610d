"""How fast the device copies: within its memory, and from the host's pinned memory."""

from __future__ import annotations

import torch

from benchmarks.device.card import Card
from benchmarks.device.timing import each

#: At most so many bytes are pinned for the copy from the host.
PINNED = 1 << 29


def on_device(card: Card, nbytes: int) -> float:
    """Bytes per second, read and written together."""
    source = torch.randint(0, 255, (nbytes,), dtype=torch.uint8, device=card.device)
    target = torch.empty_like(source)
    return 2 * nbytes / each(card, [lambda: target.copy_(source)], 0.1).median


def from_host(card: Card, nbytes: int) -> float:
    """Bytes per second from pinned memory to the device."""
    nbytes = min(nbytes, PINNED)
    source = torch.randint(0, 255, (nbytes,), dtype=torch.uint8)
    if card.device.type != "cpu":
        source = source.pin_memory()
    target = torch.empty(nbytes, dtype=torch.uint8, device=card.device)
    return nbytes / each(card, [lambda: target.copy_(source, non_blocking=True)], 0.1).median
