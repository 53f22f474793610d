"""muse-glimmer: Muse Glimmer.

As llama.cpp has it: no scaling of RoPE stretches the layers that rotate, which are the local ones.
"""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Attention, Elementwise, Named, Part, RMSNorm, Rope, Scale, Sequential
from ggufjac.families.parts.activations import softcap

#: One layer in four sees everything.
PERIOD = 4
#: What keeps the norms after attention and MLP from dividing by 0; the file has no key for it.
POST_EPS = 1e-8


class MuseGlimmer(Family):
    """Muse Glimmer: normalised embeddings, norms before and after attention and MLP, queries and keys normalised per
    head, sigmoid gates on the attention's output, windows and RoPE in three of four layers, SwiGLU, scaled and
    soft-capped logits.

    The vectors that the map takes are the embeddings before their norm.
    """

    architectures = ("muse-glimmer",)
    pairing = "adjacent"

    def layer(self, i: int) -> Part:
        b = f"blk.{i}."
        block = self.block(
            i,
            self.gated_attention(i),
            self.gated_mlp(i),
            after_attention=[Named("attn_post_norm", self._post_norm(b + "post_attention_norm"))],
            after_mlp=[Named("ffn_post_norm", self._post_norm(b + "post_ffw_norm"))],
        )
        if i > 0:
            return block
        return Sequential(RMSNorm(None, self.source.number("attention.layer_norm_rms_epsilon")), block)

    def gated_attention(self, i: int) -> Attention:
        gate = self.linear(f"blk.{i}.attn_gate", self.n_head(i) * self.d_value(i), self.d)
        return replace(self.attention(i, norms="head"), gate=gate)

    def window(self, i: int) -> int | None:
        return self.local_window(i, PERIOD)

    def rope(self, i: int) -> Rope | None:
        return None if self.window(i) is None else self.plain_rope(i, base=self.local_base(), scale=1.0)

    def output_head(self) -> Part:
        scaled = (self.head_matrix(), Scale(self.source.number("logit_scale")))
        limit = self.source.number("final_logit_softcapping", 30.0)
        return Sequential(*scaled, Elementwise(softcap(limit))) if limit else Sequential(*scaled)

    def _post_norm(self, name: str) -> RMSNorm:
        return RMSNorm(self.source.vector(f"{name}.weight", self.d), POST_EPS)
