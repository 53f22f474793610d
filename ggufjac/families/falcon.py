"""falcon: Falcon 7B, 40B and 180B (not Falcon 3, whose files say llama)."""

from __future__ import annotations

from ggufjac.families.bases.layernorm import LayerNormFamily
from ggufjac.families.parts import Named, ParallelBlock, Part


class Falcon(LayerNormFamily):
    """Falcon 7B, 40B and 180B: attention and MLP side by side, behind one LayerNorm (7B) or one each (40B), RoPE,
    shared keys and values, a plain GELU; only the norms have biases.

    The files call the MLP's norm attn_norm and, where attention has its own, that one attn_norm_2. llama.cpp evaluates
    the tanh form of GELU, where the models were trained with the exact one.
    """

    architectures = ("falcon",)

    def layer(self, i: int) -> Part:
        norm = Named("attn_norm", self.norm(f"blk.{i}.attn_norm", self.d))
        attention, mlp = self.attention(i), self.plain_mlp(i)
        if not self.source.has(f"blk.{i}.attn_norm_2.weight"):
            return Named("l_out", ParallelBlock(norm, attention, mlp))
        own = Named("attn_norm_2", self.norm(f"blk.{i}.attn_norm_2", self.d))
        return Named("l_out", ParallelBlock(own, attention, mlp, mlp_norm=norm))
