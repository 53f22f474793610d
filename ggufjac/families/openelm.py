"""openelm: Apple's OpenELM."""

from __future__ import annotations

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Part


class OpenELM(Family):
    """OpenELM (270M, 450M, 1.1B, 3B): layers with more heads and wider MLPs the later they come, queries and keys
    normalised per head before RoPE, SwiGLU."""

    architectures = ("openelm",)

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i, norms="head"), self.gated_mlp(i))
