"""bloom: BLOOM and BLOOMZ."""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.layernorm import LayerNormFamily
from ggufjac.families.parts import Named, Part, Rope, Sequential

#: The file has no key for it; llama.cpp sets it.
MAX_ALIBI_BIAS = 8.0


class Bloom(LayerNormFamily):
    """BLOOM and BLOOMZ: ALiBi in place of positions, a LayerNorm on the embeddings, biases everywhere, a plain
    GELU.

    The vectors that the map takes are the embeddings before that norm, so its spread is one more frozen coefficient.
    """

    architectures = ("bloom",)

    def layer(self, i: int) -> Part:
        block = self.block(i, replace(self.attention(i), alibi=MAX_ALIBI_BIAS), self.plain_mlp(i))
        if i > 0:
            return block
        return Sequential(Named("inp_norm", self.norm("token_embd_norm", self.d)), block)

    def rope(self, i: int) -> Rope | None:
        return None
