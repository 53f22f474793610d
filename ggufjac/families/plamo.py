"""plamo: PLaMo 13B."""

from __future__ import annotations

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Part


class Plamo(Family):
    """PLaMo 13B: attention and MLP side by side behind one RMSNorm, shared keys and values, RoPE, SwiGLU."""

    architectures = ("plamo",)

    def layer(self, i: int) -> Part:
        return self.parallel_block(i, self.attention(i), self.gated_mlp(i))
