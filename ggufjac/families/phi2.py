"""phi2: Phi-1, Phi-1.5 and Phi-2."""

from __future__ import annotations

from ggufjac.families.bases.layernorm import LayerNormFamily
from ggufjac.families.parts import Part


class Phi2(LayerNormFamily):
    """Phi-1, 1.5 and 2: attention and MLP side by side behind one LayerNorm, RoPE on part of each head, biases
    everywhere (the output head included), a plain GELU."""

    architectures = ("phi2",)

    def layer(self, i: int) -> Part:
        return self.parallel_block(i, self.attention(i), self.plain_mlp(i))
