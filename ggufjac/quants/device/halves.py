"""A float32 product as three products of float16 parts, on devices whose units for float16 are that much faster.

A number times a power of two s is a sum of two float16, high + low, that is right to 2^-24 of it, as float32 itself:
each part has eleven bits. s is chosen such that the largest number of a row of x, or of a tile of W, lies below 2^15;
what is smaller by 2^40 vanishes. Then x W^T = (xh Wh^T + xh Wl^T + xl Wh^T) / (s_x s_W), whose products are exact and
summed in float32; the term that is left out, xl Wl^T, is 2^-24 of the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: The largest number times its scale lies below 2 to this; float16 ends at 2^16.
TOP = 15


@dataclass(frozen=True)
class Halves:
    """(high + low) / scale; high and low float16 [n, k], scale float32, powers of two that broadcast against them."""

    high: Tensor
    low: Tensor
    scale: Tensor

    def columns(self, start: int, stop: int) -> Halves:
        """The columns from start to stop."""
        return Halves(self.high[:, start:stop], self.low[:, start:stop], self.scale)


def halves_of(x: Tensor, *, by_row: bool = False) -> Halves:
    """The parts of x, float32 [n, k], with one scale, or one for every row [n, 1]."""
    scale = power_below(x.abs().amax(1, keepdim=True) if by_row else x.abs().amax())
    y = x * scale
    high = y.half()
    return Halves(high, (y - high.float()).half(), scale)


def power_below(largest: Tensor) -> Tensor:
    """The power of two that brings these magnitudes, float32, just below 2^TOP; exact, and made on the device."""
    exponent = torch.frexp(largest).exponent
    return ((127 + TOP - exponent.clamp(TOP - 126, TOP + 126)) << 23).view(torch.float32)


def apply(x: Halves, w: Halves) -> Tensor:
    """x W^T, float32 [m, n]."""
    total = _sum(_sum(_product(x.high, w.high.T), x.high, w.low.T), x.low, w.high.T)
    return total.div_(x.scale).div_(w.scale)


def adjoint(g: Halves, w: Halves) -> Tensor:
    """g W, float32 [m, k]."""
    total = _sum(_sum(_product(g.high, w.high), g.high, w.low), g.low, w.high)
    return total.div_(g.scale).div_(w.scale)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a b summed in float32; where torch offers no such product of float16, the exact factors are widened."""
    return torch.mm(a, b, out_dtype=torch.float32) if a.is_cuda else torch.mm(a.float(), b.float())


def _sum(total: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """total + a b, likewise."""
    if a.is_cuda:
        return torch.addmm(total, a, b, out_dtype=torch.float32)
    return torch.addmm(total, a.float(), b.float())
