"""olmo2: OLMo 2 and OLMo 3, whose norms come after attention and MLP instead of before."""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Named, Part, Residual, Rope, Sequential

#: OLMo 3: one layer in four sees everything.
PERIOD = 4


class Olmo2(Family):
    """OLMo 2 and OLMo 3: norms after attention and MLP, queries and keys normalised as a whole before RoPE, SwiGLU;
    in OLMo 3 three of four layers see a sliding window, and YaRN stretches only the others.

    As llama.cpp has it, a local layer rotates with the base of the global ones, whatever rope.freq_base_swa says.
    """

    architectures = ("olmo2",)

    def layer(self, i: int) -> Part:
        attn_norm = Named("attn_post_norm", self.norm(f"blk.{i}.post_attention_norm", self.d))
        ffn_norm = self.norm(f"blk.{i}.post_ffw_norm", self.d)
        return Sequential(
            Named("ffn_inp", Residual("attn", self.attention(i, norms="whole"), attn_norm)),
            Named("l_out", Residual("mlp", self.gated_mlp(i), ffn_norm)),
        )

    def window(self, i: int) -> int | None:
        return self.local_window(i, PERIOD)

    def rope(self, i: int) -> Rope | None:
        stretched = self.plain_rope(i)
        local = self.window(i) is not None
        return replace(stretched, scale=1.0, magnitude=1.0, yarn=None) if local else stretched
