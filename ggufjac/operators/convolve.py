"""Causal convolution over positions, each channel with its own few taps."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally


class Convolve(Operator):
    """y[t, c] = sum_j k[c, j] x[t - (K - 1) + j, c], with zeros before the first position.

    k [n, K], its last tap the one of the position itself (ggml's ssm_conv); blocks [..., T, n] -> [..., T, n].
    """

    def __init__(self, kernel: Tensor) -> None:
        self.kernel = kernel

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        taps, n_tokens = self.kernel.shape[-1], x.shape[-2]
        padded = F.pad(x, (0, 0, taps - 1, 0))
        y = padded[..., :n_tokens, :] * self.kernel[:, 0]
        for j in range(1, taps):
            y = y + padded[..., j : j + n_tokens, :] * self.kernel[:, j]
        return y

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        taps, n_tokens = self.kernel.shape[-1], g.shape[-2]
        padded = F.pad(g, (0, 0, 0, taps - 1))
        x = padded[..., taps - 1 :, :] * self.kernel[:, 0]
        for j in range(1, taps):
            start = taps - 1 - j
            x = x + padded[..., start : start + n_tokens, :] * self.kernel[:, j]
        return x
