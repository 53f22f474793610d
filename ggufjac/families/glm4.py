"""glm4: GLM-4-0414, GLM-Z1 and the text part of GLM-4.1V."""

from __future__ import annotations

from dataclasses import replace

from ggufjac.errors import UserError
from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Named, Part, Rope


class GLM4(Family):
    """GLM-4-0414, GLM-Z1 and GLM-4.1V's text part: norms before and after attention and MLP, biases on q, k and v,
    RoPE on part of each head, gate and up in one matrix, SwiGLU."""

    architectures = ("glm4",)
    pairing = "adjacent"

    def layer(self, i: int) -> Part:
        b = f"blk.{i}."
        after_attention = Named("post_attn_norm", self.norm(b + "post_attention_norm", self.d))
        after_mlp = Named("post_mlp_norm", self.norm(b + "post_ffw_norm", self.d))
        return self.block(
            i, self.attention(i), self.fused_mlp(i), after_attention=[after_attention], after_mlp=[after_mlp]
        )

    def rope(self, i: int) -> Rope | None:
        """Files with sections (GLM-4.1V) pair the halves; of a text every section rotates by the same position."""
        time, height, _, other = (self.source.per_layer("rope.dimension_sections", k, 0) for k in range(4))
        if other:
            raise UserError(f"{self.source.file.path}: RoPE with a fourth section is not known for glm4")
        rope = self.plain_rope(i)
        return replace(rope, pairing="halves") if time > 0 and height > 0 else rope
