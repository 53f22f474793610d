"""chatglm: ChatGLM 2 and 3, GLM 4 9B (2024) and CodeGeeX 4."""

from __future__ import annotations

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Part


class ChatGLM(Family):
    """ChatGLM 2 and 3 6B, GLM-4-9B of 2024, CodeGeeX 4, GLM-Edge: pre-norm blocks, biases on q, k and v, RoPE on part
    of each head, gate and up in one matrix, SwiGLU."""

    architectures = ("chatglm",)
    pairing = "adjacent"

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i), self.fused_mlp(i))
