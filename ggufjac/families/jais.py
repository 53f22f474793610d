"""jais and jais2: Inception's and Core42's Jais.

As llama.cpp has it: in jais scores are divided by the length of a head, not by its root.
"""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.layernorm import LayerNormFamily
from ggufjac.families.parts import Part, Rope
from ggufjac.families.parts.activations import relu_squared


class Jais(LayerNormFamily):
    """Jais 1.3B to 30B: ALiBi, LayerNorm and biases everywhere, scores divided by the length of a head, SwiGLU."""

    architectures = ("jais",)

    def layer(self, i: int) -> Part:
        alibi = max(0.0, self.source.number("attention.max_alibi_bias", 0.0))
        attention = replace(self.attention(i), scale=1 / self.d_key(i), alibi=alibi)
        return self.block(i, attention, self.gated_mlp(i))

    def rope(self, i: int) -> Rope | None:
        return None


class Jais2(LayerNormFamily):
    """Jais 2 (8B, 70B): RoPE, LayerNorm and biases everywhere, a plain squared ReLU."""

    architectures = ("jais2",)

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i), self.plain_mlp(i, relu_squared))
