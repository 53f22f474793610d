"""mpt: MPT 7B and 30B, Replit Code and others.

llama.cpp evaluates the tanh form of GELU, where these models were trained with the exact one. Two forms of these files
are refused: norms of queries and keys, for which llama.cpp's own graph ends the process (it reshapes a view that is not
contiguous), and AWQ's scales of the activations.
"""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.layernorm import LayerNormFamily
from ggufjac.families.parts import LearnedPositions, Part, Rope, Sequential


class MPT(LayerNormFamily):
    """MPT and Replit Code: ALiBi or learned positions, LayerNorm and a plain GELU; optional biases, an optional
    limit on queries, keys and values."""

    architectures = ("mpt",)

    def layer(self, i: int) -> Part:
        alibi = max(0.0, self.source.number("attention.max_alibi_bias", 0.0))
        limited = self.limited(self.attention(i), self.source.number("attention.clamp_kqv", 0.0))
        block = self.block(i, replace(limited, alibi=alibi), self.plain_mlp(i))
        positions = "position_embd.weight"
        if i > 0 or not self.source.has(positions):
            return block
        return Sequential(LearnedPositions(self.source.matrix(positions, self.n_ctx_train, self.d)), block)

    def rope(self, i: int) -> Rope | None:
        return None
