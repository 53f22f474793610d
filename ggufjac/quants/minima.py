"""The minima of packed weights, where every block of 32 has one beside its scale (ggml-common.h: Q4_1, Q5_1)."""

from __future__ import annotations

import numpy as np

from ggufjac.quants.tensor import QuantTensor
from ggufjac.reader.types import GGMLType

#: Types whose blocks begin with a float16 scale d and a float16 minimum m: a weight is d q + m.
WITH_MINIMA = frozenset({GGMLType.Q4_1, GGMLType.Q5_1})


def minima(weight: QuantTensor) -> QuantTensor:
    """The minima of all blocks as a matrix of float16 [n_out, n_in / 32]; a copy, a tenth of the weight's size."""
    if weight.type not in WITH_MINIMA:
        raise ValueError(f"{weight.name}: blocks of {weight.type.name} have no minimum")
    blocks = weight.data.reshape(weight.n_out, -1, weight.type.block_bytes)
    data = np.ascontiguousarray(blocks[:, :, 2:4]).reshape(weight.n_out, -1)
    return QuantTensor(f"{weight.name} (minima)", GGMLType.F16, weight.n_in // weight.type.block, data)
