"""olmo: OLMo 1."""

from __future__ import annotations

from ggufjac.families.bases.layernorm import LayerNormFamily
from ggufjac.families.parts import LayerNorm, Part


class Olmo(LayerNormFamily):
    """OLMo 1B and 7B: LayerNorms without weights, RoPE, an optional limit on queries, keys and values, SwiGLU."""

    architectures = ("olmo",)
    pairing = "adjacent"

    def layer(self, i: int) -> Part:
        limited = self.limited(self.attention(i), self.source.number("attention.clamp_kqv", 0.0))
        return self.block(i, limited, self.gated_mlp(i))

    def norm(self, name: str, n: int) -> Part:
        return LayerNorm(None, None, self.norm_epsilon)
