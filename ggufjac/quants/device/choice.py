"""Which kernels serve a device, and how that is told."""

from __future__ import annotations

import warnings
from functools import cache
from importlib.util import find_spec

import torch

from ggufjac.quants.device.halves import errs_no_more, offered
from ggufjac.quants.device.kernels import Kernels
from ggufjac.quants.memory.precision import all_digits
from ggufjac.quants.torch_formats import dequantize_blocks
from ggufjac.reader.types import GGMLType

#: Devices whose units for float16 are more than three times as fast as those for float32 (compute capabilities of the
#: A100, H100 and B200 families); on the others one float32 product costs less than three of float16 parts.
FAST_HALVES = frozenset({(8, 0), (9, 0), (10, 0), (10, 3)})


def described(device: torch.device, dtype: str) -> str | None:
    """Where and how products are made with blocks of this precision, for a report; None on the CPU."""
    if device.type == "cpu":
        return None
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    kernels = kernels_of(device)
    if kernels.fast_halves and dtype == "float32":
        return f"{name}; wide float32 products as three of float16 parts, which err no more"
    return f"{name}; weights expanded by torch's operations" if type(kernels) is Kernels else name


@cache
def kernels_of(device: torch.device) -> Kernels:
    """The kernels that serve a device: those in Triton on NVIDIA's cards, if it is installed and can build them (which
    takes a C compiler), or torch's operations."""
    if device.type != "cuda" or torch.version.cuda is None or not torch.cuda.is_available():
        return Kernels()
    with all_digits():
        fast = torch.cuda.get_device_capability(device) in FAST_HALVES and offered(device) and errs_no_more(device)
    if find_spec("triton") is None:
        return Kernels(fast_halves=fast)
    from ggufjac.quants.triton_kernels.fused import TritonKernels

    kernels = TritonKernels(fast_halves=fast)
    if why := _unusable(kernels, device):
        told = f"Triton's kernels do not run on {device}, torch's operations take their place: {why}"
        warnings.warn(told, stacklevel=2)
        return Kernels(fast_halves=fast)
    return kernels


def _unusable(kernels: Kernels, device: torch.device) -> str | None:
    """Why these kernels cannot expand a block; None where they can."""
    block = torch.arange(GGMLType.Q8_0.block_bytes, dtype=torch.uint8)[None]
    try:
        found = kernels.expand(GGMLType.Q8_0, block.to(device), GGMLType.Q8_0.block, torch.float32).cpu()
    except Exception as error:  # whatever a compiler, a linker or a driver can say
        return f"{type(error).__name__}: {error}"
    return None if torch.equal(found, dequantize_blocks(GGMLType.Q8_0, block)) else "their numbers are wrong"
