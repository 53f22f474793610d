"""Rotary position embedding (Su et al., arXiv 2104.09864) with the scalings that GGUF files carry.

Angles are computed in float64. Formulas as in llama.cpp: linear interpolation, YaRN (Peng et al., arXiv 2309.00071)
and per-frequency factors (Llama 3; LongRoPE, arXiv 2402.13753).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ggufjac.operators.rotate import Pairing


@dataclass(frozen=True)
class Yarn:
    """YaRN's ramp between interpolated and extrapolated frequencies, for a model trained on n_ctx_orig positions."""

    n_ctx_orig: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0


@dataclass(frozen=True)
class Factors:
    """What the frequencies are divided by, [n_rot / 2] each: `long` in contexts of more than n_ctx_orig positions."""

    short: Tensor | None
    long: Tensor | None
    n_ctx_orig: int

    def within(self, n_ctx: int) -> Tensor | None:
        """The factors in a context of n_ctx positions."""
        return self.long if n_ctx > self.n_ctx_orig else self.short


@dataclass(frozen=True)
class Rope:
    """Rotates `n_rot` entries of every head, the first ones unless `offset` leaves some before them as they are.

    pairing: "adjacent" turns (0, 1), (2, 3), ...; "halves" turns (0, n/2), (1, n/2 + 1), ...
    scale: multiplies the angles (1 / the file's scaling factor). magnitude: multiplies cosine and sine.
    """

    n_rot: int
    base: float
    pairing: Pairing
    scale: float = 1.0
    magnitude: float = 1.0
    yarn: Yarn | None = None
    factors: Factors | None = None
    offset: int = 0

    def frequencies(self, n_ctx: int) -> Tensor:
        """[n_rot / 2] float64: radians per position, in a context of n_ctx positions."""
        factors = None if self.factors is None else self.factors.within(n_ctx)
        extrapolated = self._plain if factors is None else self._plain / factors.double()
        return extrapolated * (self.scale + (1 - self.scale) * self._ramp)

    @cached_property
    def _plain(self) -> Tensor:
        i = torch.arange(0, self.n_rot, 2, dtype=torch.float64)
        return self.base ** (-i / self.n_rot)

    @cached_property
    def _ramp(self) -> Tensor | float:
        """YaRN: 1 where a frequency is extrapolated, 0 where it is interpolated."""
        if self.yarn is None:
            return 0.0
        low = max(0.0, math.floor(self._turning(self.yarn.beta_fast, self.yarn.n_ctx_orig)))
        high = min(self.n_rot - 1.0, math.ceil(self._turning(self.yarn.beta_slow, self.yarn.n_ctx_orig)))
        i = torch.arange(self.n_rot // 2, dtype=torch.float64)
        return 1 - ((i - low) / max(0.001, high - low)).clamp(0, 1)

    def _turning(self, rotations: float, n_ctx: int) -> float:
        """The (fractional) number of the frequency that turns so many times within n_ctx positions."""
        steepness = math.log(self.base) or math.ulp(1.0)  # at a base of 1 all frequencies are one
        return self.n_rot * math.log(n_ctx / (rotations * 2 * math.pi)) / (2 * steepness)

    def turns(self, positions: Tensor, n_ctx: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine [T, 1, n_rot / 2] at positions [T], in a context of n_ctx positions, with the magnitude; as
        precise as a value, and where that is."""
        angles = positions.double()[:, None] * self.frequencies(n_ctx)
        cos, sin = (f(angles)[:, None, :] * self.magnitude for f in (torch.cos, torch.sin))
        return cos.to(like), sin.to(like)
