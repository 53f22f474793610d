"""gptneox: GPT-NeoX, Pythia, Dolly, RedPajama and others."""

from __future__ import annotations

from ggufjac.families.bases.layernorm import LayerNormFamily
from ggufjac.families.parts import Named, Part


class GPTNeoX(LayerNormFamily):
    """GPT-NeoX, Pythia, Dolly and RedPajama: attention and MLP side by side with a LayerNorm each, or one after the
    other if the file says so; RoPE on part of each head, biases everywhere, a plain GELU.

    llama.cpp evaluates the tanh form of GELU, where these models were trained with the exact one.
    """

    architectures = ("gptneox",)

    def layer(self, i: int) -> Part:
        attention, mlp = self.attention(i), self.plain_mlp(i)
        if not self.source.flag("use_parallel_residual"):
            return self.block(i, attention, mlp)
        mlp_norm = Named("ffn_norm", self.norm(f"blk.{i}.ffn_norm", self.d))
        return self.parallel_block(i, attention, mlp, mlp_norm=mlp_norm)
