"""internlm2: InternLM 2 and 2.5."""

from __future__ import annotations

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Part


class InternLM2(Family):
    """InternLM 2 and 2.5: pre-norm blocks, grouped-query attention with RoPE, SwiGLU."""

    architectures = ("internlm2",)
    pairing = "adjacent"

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i), self.gated_mlp(i))
