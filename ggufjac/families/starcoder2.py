"""starcoder2: StarCoder 2, to which llama.cpp applies no sliding window."""

from __future__ import annotations

from ggufjac.families.bases.layernorm import LayerNormFamily
from ggufjac.families.parts import Part


class StarCoder2(LayerNormFamily):
    """StarCoder 2: LayerNorm and biases everywhere, shared keys and values, RoPE, a plain GELU.

    As llama.cpp has it, every layer sees everything.
    """

    architectures = ("starcoder2",)

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i), self.plain_mlp(i))
