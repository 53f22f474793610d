"""nemotron: Nemotron 4 and Minitron (the Llama-based Nemotrons are llama or deci, the hybrid ones nemotron_h)."""

from __future__ import annotations

from ggufjac.families.bases.layernorm import LayerNormFamily
from ggufjac.families.parts import Part
from ggufjac.families.parts.activations import relu_squared


class Nemotron(LayerNormFamily):
    """Nemotron 4 and Minitron: LayerNorm, RoPE on part of each head, a plain squared ReLU, optional biases.

    The models add 1 to the weight of their norms; the files hold the sum.
    """

    architectures = ("nemotron",)

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i), self.plain_mlp(i, relu_squared))
