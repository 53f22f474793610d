"""Where values live: the devices that torch knows here, and the memory that an analysis may take on each."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

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
#: Devices without float64, and without factorisations of matrices: Metal has neither.
WITHOUT_FLOAT64 = WITHOUT_FACTORS = frozenset({"mps"})


def device_called(name: str | torch.device, dtype: torch.dtype = torch.float32) -> torch.device:
    """The device of torch's name for it ("cpu", "cuda:1"), for values of this precision; with its number, as tensors
    tell it, so that a device is one and the same under both of its names.

    Raises UserError where it is not to be had, or lacks the precision.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"there is no device {str(name)!r}; use {', '.join(available())}") from None
    if device.type != "meta" and (device.type not in available() or (device.index or 0) >= _count(device.type)):
        raise UserError(f"torch finds no device {str(name)!r} on this machine; use {', '.join(available())}")
    if dtype == torch.float64 and device.type in WITHOUT_FLOAT64:
        raise UserError(f"{device.type} has no float64; use float32 there, or the device cpu")
    return torch.empty(0, device=device).device


def available() -> list[str]:
    """The kinds of devices that torch can compute on here: those that everybody has, and any other accelerator."""
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "xpu": hasattr(torch, "xpu") and torch.xpu.is_available(),
    }
    found = [kind for kind in KINDS if there[kind]]
    other = _accelerator()
    return found if other is None or other in KINDS else [*found, other]


def _accelerator() -> str | None:
    """The kind of the one accelerator that torch may have here; torch before 2.6 does not tell."""
    if not (hasattr(torch, "accelerator") and torch.accelerator.is_available()):
        return None
    device = torch.accelerator.current_accelerator()
    return None if device is None else device.type


def _count(kind: str) -> int:
    """How many devices there are of a kind that is available."""
    module = getattr(torch, kind, None)
    count: Callable[[], int] = getattr(module, "device_count", lambda: 1)
    return count()


def widened(x: Tensor) -> Tensor:
    """x in float64: where it is, or on the CPU where its device has no such numbers."""
    return (x.cpu() if x.device.type in WITHOUT_FLOAT64 else x).double()


def factorable(x: Tensor) -> Tensor:
    """x where matrices can be factorised: where it is, or on the CPU where its device cannot do that."""
    return x.cpu() if x.device.type in WITHOUT_FACTORS else x


def default_budget(device: torch.device) -> int:
    """90% of what a card of its own has free, otherwise a quarter of the machine's memory, in bytes."""
    if device.type == "cuda":
        return int(FREE_SHARE * _free_on_cuda(device))
    if device.type == "xpu":
        return int(SHARE * torch.xpu.get_device_properties(device).total_memory)
    with suppress(ValueError, OSError, AttributeError):
        return int(SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return GUESS


def forget_cached(device: torch.device) -> None:
    """Give back what torch keeps of the device's memory for later use."""
    if device.type in ("cuda", "mps", "xpu"):
        getattr(torch, device.type).empty_cache()


def synchronize(device: torch.device) -> None:
    """Wait until the device has done everything that was started on it."""
    if device.type in ("cuda", "mps", "xpu"):
        getattr(torch, device.type).synchronize()


def _free_on_cuda(device: torch.device) -> int:
    """Bytes that this process can still take: what nobody has, what torch holds unused, and no more than it may."""
    free, total = torch.cuda.mem_get_info(device)
    used = torch.cuda.memory_allocated(device)
    unused = torch.cuda.memory_reserved(device) - used
    number = torch.cuda.current_device() if device.index is None else device.index
    allowed = getattr(torch.cuda, "get_per_process_memory_fraction", lambda _: 1.0)(number)
    return int(min(free + unused, allowed * total - used))


def available_memory() -> int | None:
    """Bytes that programs and the page cache could take now, less a margin; None where the system does not tell."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int((1 - MARGIN) * 1024 * int(line.split()[1]))
    return None
