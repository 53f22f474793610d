"""Packed weights of Q4_K on the device, in as many copies as its cache does not hold, and exact products with them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from benchmarks.device.check import Check
from benchmarks.device.trial.candidates import TYPE
from benchmarks.device.weights import matrix
from ggufjac.quants.torch_formats import dequantize_blocks

#: Rows of W that are widened to float64 at a time.
WIDENED = 1024


class Matrix:
    """packed: uint8 [n_out, row_bytes], several alike."""

    def __init__(self, check: Check, shape: tuple[int, int]) -> None:
        self.n_out, self.n_in = shape
        first = torch.from_numpy(matrix(TYPE, *shape)).to(check.card.device)
        copies = max(1, math.ceil(check.settings.scale.rotated / first.nbytes))
        self.packed = [first, *(first.clone() for _ in range(copies - 1))]
        self.nbytes = first.nbytes
        self._blocks: dict[tuple[int, torch.dtype, bool], tuple[Tensor, Tensor]] = {}

    def name(self, *, adjoint: bool) -> str:
        return f"{TYPE.name} {self.n_out}x{self.n_in} {'adjoint' if adjoint else 'apply'}"

    def block(self, m: int, dtype: torch.dtype, *, adjoint: bool) -> tuple[Tensor, Tensor]:
        """m rows of x, and their product in float64: x W^T, or x W."""
        key = m, dtype, adjoint
        if key not in self._blocks:
            generator = torch.Generator().manual_seed(m)
            x = torch.randn(m, self.n_out if adjoint else self.n_in, generator=generator)
            x = x.to(self.packed[0].device, dtype)
            self._blocks[key] = x, self._exact(x, adjoint=adjoint)
        return self._blocks[key]

    def _exact(self, x: Tensor, *, adjoint: bool) -> Tensor:
        parts: list[Tensor] = []
        for start in range(0, self.n_out, WIDENED):
            rows = self.packed[0][start : start + WIDENED]
            w = dequantize_blocks(TYPE, rows.reshape(-1, TYPE.block_bytes)).reshape(-1, self.n_in).double()
            parts.append(x[:, start : start + WIDENED].double() @ w if adjoint else x.double() @ w.T)
        return torch.stack(parts).sum(0) if adjoint else torch.cat(parts, 1)
