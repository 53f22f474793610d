"""qwen2 and qwen3: the dense models of Qwen 2, 2.5 and 3."""

from __future__ import annotations

from ggufjac.families.base import Family
from ggufjac.families.parts import Part


class Qwen2(Family):
    """Qwen 2 and 2.5, DeepSeek-R1-Distill-Qwen: pre-norm blocks, biases on q, k and v, SwiGLU.

    llama.cpp reads no sliding window for this architecture.
    """

    architectures = ("qwen2",)

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i), self.gated_mlp(i))


class Qwen3(Family):
    """Qwen 3: pre-norm blocks, queries and keys normalised per head before RoPE, SwiGLU."""

    architectures = ("qwen3",)

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i, head_norms=True), self.gated_mlp(i))
