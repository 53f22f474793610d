"""The kernels in Triton behind the interface that every device has."""

from __future__ import annotations

import torch
from torch import Tensor

from ggufjac.quants.device.halves import Halves, power_below
from ggufjac.quants.device.kernels import Kernels
from ggufjac.quants.triton_kernels import launch
from ggufjac.quants.triton_kernels.formats import LAYOUTS
from ggufjac.reader.types import GGMLType


class TritonKernels(Kernels):
    """Formats without a kernel (codebooks, ternary ones) and rows that end within a group take torch's operations."""

    def expand(self, type: GGMLType, packed: Tensor, n_in: int, dtype: torch.dtype) -> Tensor:
        if not _has(type, n_in):
            return super().expand(type, packed, n_in, dtype)
        out = packed.new_empty(packed.shape[0], n_in, dtype=dtype)
        launch.expansion(type, packed, out).run(packed.device)
        return out

    def halves(self, type: GGMLType, packed: Tensor, n_in: int) -> Halves:
        if not _has(type, n_in):
            return super().halves(type, packed, n_in)
        n_out = packed.shape[0]
        made, largest = launch.magnitude(type, packed, n_in)
        made.run(packed.device)
        scale = power_below(largest.amax())
        high, low = (packed.new_empty(n_out, n_in, dtype=torch.float16) for _ in range(2))
        launch.split(type, packed, scale, high, low).run(packed.device)
        return Halves(high, low, scale)

    def apply(self, type: GGMLType, packed: Tensor, n_in: int, x: Tensor) -> Tensor | None:
        if not _narrow(type, n_in, x):
            return None
        made, parts = launch.apply_parts(type, packed, x.contiguous(), launch.card_of(x.device))
        made.run(x.device)
        return _summed(parts)

    def adjoint(self, type: GGMLType, packed: Tensor, n_in: int, g: Tensor) -> Tensor | None:
        if not _narrow(type, n_in, g):
            return None
        made, parts = launch.adjoint_parts(type, packed, n_in, g.contiguous(), launch.card_of(g.device))
        made.run(g.device)
        return _summed(parts)


def _has(type: GGMLType, n_in: int) -> bool:
    return type in LAYOUTS and n_in % LAYOUTS[type].group == 0


def _narrow(type: GGMLType, n_in: int, x: Tensor) -> bool:
    return _has(type, n_in) and x.dtype in launch.TYPES and 0 < x.shape[0] <= launch.NARROW


def _summed(parts: Tensor) -> Tensor:
    """The parts [splits, m, n] added up, in an order that depends on nothing but the shapes and the card."""
    return parts[0] if parts.shape[0] == 1 else parts.sum(0)
