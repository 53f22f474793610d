"""Where values live: the devices that torch knows here, and the memory that an analysis may take on each."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import torch

from ggufjac.errors import UserError

#: The share of the memory that an analysis takes unless it is told otherwise; and of what a card of its own has free.
SHARE, FREE_SHARE = 0.25, 0.9
#: The share of the available memory that is left for everything else on the machine.
MARGIN = 0.05
#: Where the machine does not tell how much memory it has.
GUESS = 4 << 30
KINDS = ("cpu", "cuda", "mps", "xpu")
#: What torch raises when a device has no more memory.
OutOfMemory: type[Exception] = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)


def device_called(name: str | torch.device) -> torch.device:
    """The device of torch's name for it ("cpu", "cuda:1"). Raises UserError where it is not to be had."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"there is no device {str(name)!r}; use {', '.join(available())}") from None
    if device.type == "meta" or device.type in available():
        return device
    raise UserError(f"torch finds no device {str(name)!r} on this machine; use {', '.join(available())}")


def available() -> list[str]:
    """The kinds of devices that torch can compute on here."""
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "xpu": hasattr(torch, "xpu") and torch.xpu.is_available(),
    }
    return [kind for kind in KINDS if there[kind]]


def default_budget(device: torch.device) -> int:
    """90% of what a card of its own has free, otherwise a quarter of the machine's memory, in bytes."""
    if device.type == "cuda":
        return int(FREE_SHARE * _free_on_cuda(device))
    with suppress(ValueError, OSError, AttributeError):
        return int(SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return GUESS


def forget_cached(device: torch.device) -> None:
    """Give back what torch keeps of the device's memory for later use."""
    if device.type in ("cuda", "mps", "xpu"):
        getattr(torch, device.type).empty_cache()


def _free_on_cuda(device: torch.device) -> int:
    """Bytes that this process can still take: what nobody has, what torch holds unused, and no more than it may."""
    free, total = torch.cuda.mem_get_info(device)
    used = torch.cuda.memory_allocated(device)
    unused = torch.cuda.memory_reserved(device) - used
    allowed = getattr(torch.cuda, "get_per_process_memory_fraction", lambda _: 1.0)(device)
    return int(min(free + unused, allowed * total - used))


def available_memory() -> int | None:
    """Bytes that programs and the page cache could take now, less a margin; None where the system does not tell."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int((1 - MARGIN) * 1024 * int(line.split()[1]))
    return None
