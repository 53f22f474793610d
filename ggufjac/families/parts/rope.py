"""Rotary position embedding (Su et al., arXiv 2104.09864) with the scalings that GGUF files carry.

Angles are computed in float64. Formulas as in llama.cpp: linear interpolation, YaRN (Peng et al., arXiv 2309.00071)
and per-frequency factors (Llama 3, LongRoPE).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Yarn:
    """YaRN's ramp between interpolated and extrapolated frequencies; `ext_factor` 0 switches it off."""

    n_ctx_orig: int
    ext_factor: float = 1.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0


@dataclass(frozen=True)
class Rope:
    """Rotates the first `n_rot` entries of every head.

    pairing: "adjacent" turns (0, 1), (2, 3), ...; "halves" turns (0, n/2), (1, n/2 + 1), ...
    scale: multiplies the angles (1 / the file's scaling factor). factors: [n_rot / 2], divide the frequencies.
    magnitude: multiplies cosine and sine.
    """

    n_rot: int
    base: float
    pairing: Literal["adjacent", "halves"]
    scale: float = 1.0
    factors: Tensor | None = None
    magnitude: float = 1.0
    yarn: Yarn | None = None

    @cached_property
    def frequencies(self) -> Tensor:
        """[n_rot / 2] float64: radians per position."""
        i = torch.arange(0, self.n_rot, 2, dtype=torch.float64)
        extrapolated = self.base ** (-i / self.n_rot)
        if self.factors is not None:
            extrapolated = extrapolated / self.factors.double()
        interpolated = self.scale * extrapolated
        if self.yarn is None:
            return interpolated
        low, high = self._correction(self.yarn)
        ramp = 1 - ((i / 2 - low) / max(0.001, high - low)).clamp(0, 1)
        mix = ramp * self.yarn.ext_factor
        return interpolated * (1 - mix) + extrapolated * mix

    def _correction(self, yarn: Yarn) -> tuple[float, float]:
        def dimension(rotations: float) -> float:
            turns = yarn.n_ctx_orig / (rotations * 2 * math.pi)
            return self.n_rot * math.log(turns) / (2 * math.log(self.base))

        low = max(0.0, math.floor(dimension(yarn.beta_fast)))
        high = min(self.n_rot - 1.0, math.ceil(dimension(yarn.beta_slow)))
        return low, high

    def rotate(self, x: Tensor, positions: Tensor) -> Tensor:
        """x [..., T, n_head, d_head] at positions [T]."""
        angles = positions.double()[:, None] * self.frequencies
        cos = (angles.cos() * self.magnitude)[:, None, :].to(x)
        sin = (angles.sin() * self.magnitude)[:, None, :].to(x)
        turned, rest = x[..., : self.n_rot], x[..., self.n_rot :]
        if self.pairing == "adjacent":
            a, b = turned[..., 0::2], turned[..., 1::2]
            y = torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)
        else:
            a, b = turned.chunk(2, -1)
            y = torch.cat((a * cos - b * sin, a * sin + b * cos), -1)
        return torch.cat((y, rest), -1) if rest.shape[-1] else y
