"""Eigenvectors of small symmetric matrices, and what a person is told where there are none."""

from __future__ import annotations

import torch
from torch import Tensor

from ggufjac.errors import UserError
from ggufjac.quants.memory.devices import factorable


def eigh(x: Tensor) -> tuple[Tensor, Tensor]:
    """The eigenvalues of x [..., n, n] in ascending order, and its eigenvectors as columns; perhaps on the CPU.

    Raises UserError where x has numbers that are none: the map overflows.
    """
    try:
        values, vectors = torch.linalg.eigh(factorable(x))
    except RuntimeError:  # torch's error of factorisations is one
        if bool(torch.isfinite(x).all()):
            raise
        precision = str(x.dtype).removeprefix("torch.")
        raise UserError(
            f"the numbers of this prompt's map overflow {precision}, though those of the pass do not; --dtype float64 "
            "may hold them"
        ) from None
    return values, vectors
