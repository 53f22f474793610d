"""The leading singular triplets of linear maps, from products with blocks of columns alone.

Randomised block Krylov iteration (Musco and Musco, arXiv 1504.05477) with full reorthogonalisation. For a map
A [d, n] the space spanned by Y, (A A^T) Y, (A A^T)^2 Y, ... is grown block by block; with an orthonormal basis Q of it,
the SVD of the small matrix Q^T A gives the triplets. A batch of maps is handled at once, so that all of them share
each sweep over the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.maps.spectra.eigen import eigh
from ggufjac.quants.memory.devices import factorable, widened
from ggufjac.quants.memory.threads import kernels_first

#: A product with a batch of maps: [B, b, n] -> [B, b, d] forwards, [B, b, d] -> [B, b, n] backwards.
Product = Callable[[Tensor], Tensor]

#: A singular value this much smaller than the first is 0.
NOTHING = 1e-7


@dataclass(frozen=True)
class Triplets:
    """A ~ sum_i u_i s_i v_i^T for each map of a batch.

    u [B, k, d], s [B, k] descending, v [B, k, n]: rows are the vectors.
    residuals [B, k]: ||A v - s u|| / s, from products with A itself; infinite where s = 0.
    sweeps: how many products with A or its transpose were made.
    """

    u: Tensor
    s: Tensor
    v: Tensor
    residuals: Tensor
    sweeps: int


def block_krylov(
    forward: Product,
    backward: Product,
    start: Tensor,
    k: int,
    *,
    tolerance: float = 1e-3,
    max_blocks: int = 16,
) -> Triplets:
    """The k leading triplets of each map of a batch.

    start [B, b, d]: the first block, b >= 1 columns. Stops when every residual is below `tolerance` (a singular value
    is then right to about its square), when the basis spans everything, or after `max_blocks` blocks.
    """
    with kernels_first():
        return _grow(forward, backward, start, k, tolerance, max_blocks)


def _grow(forward: Product, backward: Product, start: Tensor, k: int, tolerance: float, max_blocks: int) -> Triplets:
    d = start.shape[-1]
    k = min(k, d)
    block = _orthonormal(start[:, :d])
    basis = start[:, :0]
    below = images = basis
    sweeps = 0
    while True:
        newest = backward(block)
        grown = forward(newest)
        sweeps += 2
        basis = torch.cat((basis, block), 1)
        below = torch.cat((below, newest), 1) if below.shape[1] else newest  # Q^T A
        images = torch.cat((images, grown), 1)  # (A A^T Q)^T
        w, s = _leading(below, k)
        u = w.mT @ basis
        residuals = _residuals(w.mT @ images, s, u)
        room = d - basis.shape[1]
        enough = basis.shape[1] >= k and bool(((residuals <= tolerance) | (s <= 0)).all())
        if enough or room <= 0 or sweeps >= 2 * max_blocks:
            v = torch.where(s > 0, 1 / s, 0)[..., None] * (w.mT @ below)
            return Triplets(u, s, v, residuals, sweeps)
        block = _orthonormal(grown[:, :room], against=basis)


def _leading(below: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k leading left vectors [B, m, k] and values [B, k] of below [B, m, n], from its Gram matrix in float64.

    Values come out with a relative error of about 1e-16 (s_1 / s_i)^2, far below the residuals asked for; those below
    NOTHING times the first cannot be told from rounding and count as 0.
    """
    wide = widened(below)
    squares, w = eigh(wide @ wide.mT)
    k = min(k, w.shape[-1])
    s = squares[..., -k:].flip(-1).clamp_min(0).sqrt()
    s = torch.where(s > NOTHING * s[..., :1], s, 0)
    return w[..., -k:].flip(-1).to(below), s.to(below)


def _residuals(images: Tensor, s: Tensor, u: Tensor) -> Tensor:
    """images are the rows s A v: what A really makes of v, times s."""
    error = (images - s.square()[..., None] * u).norm(dim=-1)
    return torch.where(s > 0, error / s.square(), torch.inf)


def _orthonormal(rows: Tensor, against: Tensor | None = None) -> Tensor:
    """An orthonormal basis of the rows, orthogonal to `against`; twice, because once loses digits."""
    for _ in range(2):
        if against is not None:
            rows = rows - (rows @ against.mT) @ against
        rows = torch.linalg.qr(factorable(rows.mT)).Q.mT.to(rows)
    return rows
