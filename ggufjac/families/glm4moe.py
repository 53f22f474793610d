"""glm4moe: GLM 4.5, 4.6, 4.7 and 4.5 Air, Solar Open."""

from __future__ import annotations

from typing import Literal

from ggufjac.families.bases.mixture import Mixture
from ggufjac.families.parts import Named, Part


class Glm4MoE(Mixture):
    """GLM 4.5 to 4.7, large and Air: grouped-query attention with biases, optional norms per head and RoPE on half of
    each head, leading dense layers, then a shared expert and experts chosen with a selection bias by their sigmoid."""

    architectures = ("glm4moe",)
    gating = "sigmoid"

    def layer(self, i: int) -> Part:
        norms: Literal["head"] | None = "head" if self.source.has(f"blk.{i}.attn_q_norm.weight") else None
        ffn_norm = Named("post_attn_norm", self.norm(f"blk.{i}.post_attention_norm", self.d))
        return self.block(i, self.attention(i, norms=norms), self.mlp(i), ffn_norm=ffn_norm)
