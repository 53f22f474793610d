"""Rotations of pairs of entries by angles that depend on the position."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally

#: Which entries of a head make pairs: (0, 1), (2, 3), ...; or (0, n/2), (1, n/2 + 1), ...
Pairing: TypeAlias = Literal["adjacent", "halves"]


class Rotate(Operator):
    """Turns entries of every head, those from `offset` on; blocks [..., T, n_head, d_head].

    cos, sin [T, 1, n_rot / 2], with whatever they are multiplied by; the other entries stay as they are.
    """

    def __init__(self, cos: Tensor, sin: Tensor, pairing: Pairing, offset: int = 0) -> None:
        self.cos = cos
        self.sin = sin
        self.pairing = pairing
        self.offset = offset

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return self._turned(x, self.sin)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return self._turned(g, -self.sin)

    def _turned(self, x: Tensor, sin: Tensor) -> Tensor:
        n_rot = 2 * self.cos.shape[-1]
        before, turned, rest = x.split([self.offset, n_rot, x.shape[-1] - self.offset - n_rot], -1)
        if self.pairing == "adjacent":
            a, b = turned[..., 0::2], turned[..., 1::2]
            y = torch.stack(self._pairs(a, b, sin), -1).flatten(-2)
        else:
            a, b = turned.chunk(2, -1)
            y = torch.cat(self._pairs(a, b, sin), -1)
        return torch.cat((before, y, rest), -1) if before.shape[-1] + rest.shape[-1] else y

    def _pairs(self, a: Tensor, b: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        return torch.addcmul(a * self.cos, b, sin, value=-1), torch.addcmul(a * sin, b, self.cos)
