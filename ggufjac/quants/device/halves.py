"""A float32 product as three products of float16 parts, on devices whose units for float16 are that much faster.

A number times a power of two s is a sum of two float16, high + low, that is right to 2^-24 of it, as float32 itself:
each part has eleven bits. s is chosen such that the largest number of a row of x, or of a tile of W, lies below 2^15;
what is smaller by 2^40 vanishes. Then x W^T = (xh Wh^T + xh Wl^T + xl Wh^T) / (s_x s_W), whose products are exact and
summed in float32; the term that is left out, xl Wl^T, is 2^-24 of the others.

The units for float16 cut digits off where float32 rounds, each time that they add sixteen products to a sum, so that
long sums come out too small: by 2e-5 of them after 14336 products. Therefore xh Wh^T is summed in short stretches, and
these are added up by float32's own rules. The other two terms are 2^-11 of it, and so is what is cut off them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

#: The largest number times its scale lies below 2 to this; float16 ends at 2^16.
TOP = 15
#: Rows, columns and length of the product by which the two ways are compared on a device.
TRIED = (64, 64, 14336)
#: The most products that units for float16 sum by themselves, and of how many a stretch is a multiple, for alignment.
STRETCH, ALIGNED = 1024, 64


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
    largest = torch.linalg.vector_norm(x, math.inf, 1 if by_row else None, keepdim=by_row)
    scale = power_below(largest)
    y = x * scale
    high = y.half()
    return Halves(high, y.sub_(high).half(), scale)  # in place: x is large where this is worth its while


def power_below(largest: Tensor) -> Tensor:
    """The power of two that brings these magnitudes, float32, just below 2^TOP; exact, and made on the device."""
    exponent = torch.frexp(largest).exponent
    return ((127 + TOP - exponent.clamp(TOP - 126, TOP + 126)) << 23).view(torch.float32)


def apply(x: Halves, w: Halves) -> Tensor:
    """x W^T, float32 [m, n]."""
    return _product(x.high, x.low, w.high.T, w.low.T).div_(x.scale).div_(w.scale)


def adjoint(g: Halves, w: Halves) -> Tensor:
    """g W, float32 [m, k]."""
    return _product(g.high, g.low, w.high, w.low).div_(g.scale).div_(w.scale)


def stretches(n: int) -> Iterator[slice]:
    """n products in as few stretches as may be, about as long as each other."""
    pieces = max(1, -(-n // STRETCH))
    step = ALIGNED * max(1, -(-n // (pieces * ALIGNED)))
    return (slice(start, start + step) for start in range(0, n, step))


def offered(device: torch.device) -> bool:
    """Whether torch has products of float16 with sums of float32 on this device: since 2.8 on CUDA, and not for all."""
    try:
        one = torch.ones(ALIGNED, ALIGNED, dtype=torch.float16, device=device)
        total = torch.mm(one, one, out_dtype=torch.float32)
        torch.addmm(total, one, one, out_dtype=torch.float32, out=total)
        return float(total[0, 0]) == 2 * ALIGNED
    except (TypeError, RuntimeError):
        return False


def errs_no_more(device: torch.device, own: Callable[[Tensor, Tensor], Tensor] = torch.matmul) -> bool:
    """Whether a product made this way is as close to the exact one as the device's own product of float32 is there."""
    m, n, k = TRIED
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(rows, k, generator=generator).to(device) for rows in (m, n))
    exact = x.double() @ w.double().T
    errors = [(made - exact).norm() for made in (apply(halves_of(x, by_row=True), halves_of(w)), own(x, w.T))]
    return bool(errors[0] <= errors[1])


def _product(high: Tensor, low: Tensor, w_high: Tensor, w_low: Tensor) -> Tensor:
    """(high + low) (w_high + w_low) without the product of the two low ones; the smallest terms first."""
    total = _add(_times(low, w_high), high, w_low)
    for part in stretches(high.shape[1]):
        total = _add(total, high[:, part], w_high[part])
    return total


def _times(a: Tensor, b: Tensor) -> Tensor:
    """a b summed in float32; where torch offers no such product of float16, the exact factors are widened."""
    return torch.mm(a, b, out_dtype=torch.float32) if a.is_cuda else torch.mm(_wide(a), _wide(b))


def _add(total: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """total + a b in place of total, likewise."""
    if a.is_cuda:
        return torch.addmm(total, a, b, out_dtype=torch.float32, out=total)
    return total.addmm_(_wide(a), _wide(b))


def _wide(x: Tensor) -> Tensor:
    """x in float32; in a rehearsal in no memory, since a card needs none for this."""
    return x.new_empty(1, 1, dtype=torch.float32).expand(x.shape) if x.is_meta else x.float()
