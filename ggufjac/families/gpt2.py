"""gpt2 and starcoder: learned positions and no rotation.

llama.cpp has one graph for both; StarCoder's queries share one head of keys and values.
"""

from __future__ import annotations

from ggufjac.families.bases.layernorm import LayerNormFamily
from ggufjac.families.parts import LearnedPositions, Part, Rope, Sequential


class GPT2(LayerNormFamily):
    """GPT-2, and StarCoder 1 with shared keys and values: learned positions (a constant of the map), LayerNorm and
    biases everywhere, a plain GELU."""

    architectures = ("gpt2", "starcoder")

    def layer(self, i: int) -> Part:
        block = self.block(i, self.attention(i), self.plain_mlp(i))
        if i > 0:
            return block
        return Sequential(LearnedPositions(self.source.matrix("position_embd.weight", self.n_ctx_train, self.d)), block)

    def rope(self, i: int) -> Rope | None:
        return None
