"""What a device does with the packed weights that lie on it: by torch's operations, or by kernels of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from ggufjac.quants.device.halves import Halves, halves_of
from ggufjac.quants.torch_formats import dequantize_blocks
from ggufjac.reader.types import GGMLType


class Kernels:
    """packed is uint8 [n_out, row_bytes] throughout, the rows of a matrix W [n_out, n_in].

    fast_halves: whether wide float32 products are made as three products of float16 parts, where these err no more.
    """

    def __init__(self, *, fast_halves: bool = False) -> None:
        self.fast_halves = fast_halves

    def expand(self, type: GGMLType, packed: Tensor, n_in: int, dtype: torch.dtype) -> Tensor:
        """W [n_out, n_in]."""
        blocks = packed.reshape(-1, type.block_bytes)
        return dequantize_blocks(type, blocks).reshape(packed.shape[0], n_in).to(dtype)

    def halves(self, type: GGMLType, packed: Tensor, n_in: int) -> Halves:
        """W as two float16 parts and a scale."""
        return halves_of(self.expand(type, packed, n_in, torch.float32))

    def apply(self, type: GGMLType, packed: Tensor, n_in: int, x: Tensor) -> Tensor | None:
        """x W^T [m, n_out] for x [m, n_in], in one kernel; None where expanding W first is the way."""
        return None

    def adjoint(self, type: GGMLType, packed: Tensor, n_in: int, g: Tensor) -> Tensor | None:
        """g W [m, n_in] for g [m, n_out]; None as in `apply`."""
        return None
