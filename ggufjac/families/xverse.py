"""xverse: XVERSE."""

from __future__ import annotations

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Part


class Xverse(Family):
    """XVERSE 7B, 13B and 65B: pre-norm blocks, grouped-query attention with RoPE, SwiGLU."""

    architectures = ("xverse",)
    pairing = "adjacent"

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i), self.gated_mlp(i))
