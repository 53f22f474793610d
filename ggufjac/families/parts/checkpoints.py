"""Attention over depth (Kimi's attention residuals): the stream is read as a mean of itself and of earlier states.

The state is (stream | earlier states), planes of equal width. A score for every plane gives, by softmax, how much of it
is read at each position. These shares are coefficients; the planes are live. Formulas as in llama.cpp's kimi-k3.cpp.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ggufjac.families.parts.fallback import Differentiated
from ggufjac.families.parts.run import Run
from ggufjac.operators import Blend, Operator


class MeanOfPlanes(Differentiated):
    """sum_k p_k X_k with p the softmax over the planes X_k of w . X_k / rms(X_k); weight w [d]."""

    def __init__(self, weight: Tensor, eps: float) -> None:
        self.weight = weight
        self.eps = eps

    def detached(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        planes = run.freeze(x).unflatten(-1, (-1, self.weight.shape[0]))
        length = torch.rsqrt(planes.square().mean(-1) + self.eps)
        mean = Blend(((planes @ self.weight.to(x)) * length).softmax(-1)[..., None, :])
        return mean, mean.apply(x)
