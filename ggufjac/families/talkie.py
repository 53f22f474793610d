"""talkie: Talkie 13B, whose layers each add a share of the embeddings once more.

The state is (stream | normalised embeddings).
"""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import (
    Attention,
    Copies,
    Named,
    NamedSlice,
    Part,
    ResidualAt,
    RMSNorm,
    Scale,
    Sequential,
    Slice,
)


class Talkie(Family):
    """Talkie 13B: norms without weights, normalised embeddings that every layer adds once more with a weight of its
    own, queries and keys normalised per head after RoPE, with a gain per head, SwiGLU, scaled logits.

    The vectors that the map takes are the embeddings before their norm.
    """

    architectures = ("talkie",)

    def layer(self, i: int) -> Part:
        d, read, norm = self.d, Slice(0, self.d), self.weightless_norm()
        scale = self.source.vector(f"blk.{i}.layer_output_scale.weight", 1)
        attn_norm, ffn_norm = Named("attn_norm", norm), Named("ffn_norm", norm)
        parts: list[Part] = [
            NamedSlice("ffn_inp", 0, d, ResidualAt("attn", 0, d, read, attn_norm, self.normalised_attention(i))),
            ResidualAt("mlp", 0, d, read, ffn_norm, self.gated_mlp(i)),
            ResidualAt("skip", 0, d, Slice(d, 2 * d), Scale(scale)),
        ]
        first = [norm, Copies(2)] if i == 0 else []
        return NamedSlice("l_out", 0, d, Sequential(*first, *parts))

    def normalised_attention(self, i: int) -> Attention:
        gain = self.source.table(f"blk.{i}.attn_q_norm.weight", self.n_head(i), 1).expand(-1, self.d_key(i))
        norm = self.weightless_norm()
        return replace(self.attention(i), q_norm=RMSNorm(gain, norm.eps), k_norm=norm, rope_first=True)

    def weightless_norm(self) -> RMSNorm:
        return RMSNorm(None, self.source.number("attention.layer_norm_rms_epsilon"))

    def final_norm(self) -> Part:
        return Sequential(Slice(0, self.d), self.weightless_norm())

    def output_head(self) -> Part:
        return Sequential(self.head_matrix(), Scale(self.source.number("logit_scale")))
