"""grok: Grok 1 and 2.

Multipliers and limits that older files leave out are Grok 1's. As llama.cpp has it, the limit of the router's logits
and the temperature of long contexts are read and not used.
"""

from __future__ import annotations

import math
from dataclasses import replace

from ggufjac.errors import UserError
from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Attention, Elementwise, Named, Parallel, Part, Rope, Scale, Sequential, Yarn
from ggufjac.families.parts.activations import gelu, softcap

EMBEDDINGS, LOGITS, SCORES, SCORES_LIMIT = 78.38367176906169, 0.5773502691896257, 0.08838834764831845, 30.0
#: YaRN's ramp begins elsewhere than in other models.
BETA_FAST = 8.0


class Grok(Family):
    """Grok 1 (314B) and Grok 2: norms before and after each part, limited scores, experts with GeGLU weighted by the
    softmax over all of them, divided by the sum; in Grok 2 an MLP beside them."""

    architectures = ("grok",)

    @property
    def embedding_scale(self) -> float:
        return self.source.number("embedding_scale", EMBEDDINGS) or 1.0

    def layer(self, i: int) -> Part:
        b = f"blk.{i}."
        after = b + ("layer_output_norm" if self.source.has(b + "layer_output_norm.weight") else "post_ffw_norm")
        return self.block(
            i,
            self.limited_attention(i),
            self.mlp(i),
            after_attention=[Named("attn_out_norm", self.norm(b + "attn_output_norm", self.d))],
            after_mlp=[Named("ffn_post_norm", self.norm(after, self.d))],
        )

    def limited_attention(self, i: int) -> Attention:
        scale = self.source.number("attention.output_scale", SCORES)
        limit = self.source.number("attn_logit_softcapping", SCORES_LIMIT)
        if limit <= 0:
            raise UserError(f"{self.source.file.path}: Grok's scores cannot be limited to {limit}")
        return replace(self.attention(i), scale=scale, softcap=limit)

    def mlp(self, i: int) -> Part:
        """The experts of layer i, and the MLP beside them where the file has one."""
        n_ff = self.source.per_layer("expert_feed_forward_length", i, 0) or self.n_ff(i)
        experts = self.experts(i, self.routing(i), n_ff, gelu)
        if not self.source.has(f"blk.{i}.ffn_up.weight"):
            return experts
        return Sequential(Parallel(experts, self.gated_mlp(i, gelu)), Scale(math.sqrt(0.5)))

    def rope(self, i: int) -> Rope | None:
        """YaRN as everywhere, unless the file says that nothing is extrapolated: then the stretch is linear and
        `yarn_attn_factor` counts."""
        number = self.source.number
        yarn = Yarn(
            self.n_ctx_orig,
            beta_fast=self.source.positive("rope.scaling.yarn_beta_fast", BETA_FAST),
            beta_slow=self.source.positive("rope.scaling.yarn_beta_slow", 1.0),
        )
        rope, asked = self.plain_rope(i, yarn=yarn), float(self.rope_scaling == "yarn")
        extrapolated = number("rope.scaling.yarn_ext_factor", asked)
        if extrapolated == 0.0:
            magnitude = number("rope.scaling.yarn_attn_factor", 1.0) * number("rope.scaling.attn_factor", 1.0)
            return replace(rope, yarn=None, magnitude=magnitude)
        if extrapolated != asked and self.rope_scaling != "none":
            raise UserError(f"{self.source.file.path}: a yarn_ext_factor of {extrapolated} is not known for grok")
        return rope

    def output_head(self) -> Part:
        head = Sequential(self.head_matrix(), Scale(self.source.number("logit_scale", LOGITS)))
        limit = self.source.number("final_logit_softcapping", 0.0)
        return Sequential(head, Elementwise(softcap(limit))) if limit else head
