"""seed_oss: ByteDance's Seed-OSS 36B."""

from __future__ import annotations

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Named, Part


class SeedOss(Family):
    """Seed-OSS: pre-norm blocks, grouped-query attention with biases on q, k and v, SwiGLU."""

    architectures = ("seed_oss",)

    def layer(self, i: int) -> Part:
        ffn_norm = Named("attn_post_norm", self.norm(f"blk.{i}.post_attention_norm", self.d))
        return self.block(i, self.attention(i), self.gated_mlp(i), ffn_norm=ffn_norm)
