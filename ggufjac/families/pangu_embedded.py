"""pangu-embedded: Huawei's openPangu Embedded 1B and 7B.

llama.cpp reads Llama 3's and LongRoPE's factors for this architecture and does not use them; a file with them is
refused here.
"""

from __future__ import annotations

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Part


class PanguEmbedded(Family):
    """openPangu Embedded 1B and 7B: pre-norm blocks, grouped-query attention with biases and RoPE, SwiGLU."""

    architectures = ("pangu-embedded",)

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i), self.gated_mlp(i))
