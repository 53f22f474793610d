"""gemma4: the text part of Gemma 4 31B and 26B-A4B.

The files of E2B and E4B have inputs of their own for every layer, and layers that take keys and values from others;
they are refused.
"""

from __future__ import annotations

import math
from dataclasses import replace

from ggufjac.errors import UserError
from ggufjac.families.gemma import Gemma
from ggufjac.families.parts import Add, Attention, Beside, Factors, Named, Part, RMSNorm, Rope, Then, Times
from ggufjac.families.parts.activations import gelu
from ggufjac.families.parts.heads import HeadNorm
from ggufjac.families.source import Source


class Gemma4(Gemma):
    """Gemma 4 31B and 26B-A4B: norms before and after each part, queries, keys and values normalised per head, local
    layers with heads and a RoPE of their own, global ones whose values may be their keys, GeGLU, optional experts."""

    architectures = ("gemma4",)

    def __init__(self, source: Source) -> None:
        if source.integer("embedding_length_per_layer_input") or source.integer("attention.shared_kv_layers", 0):
            raise UserError(
                f"{source.file.path}: Gemma 4 with inputs per layer or shared keys and values (E2B, E4B) is not "
                "supported; 31B and 26B-A4B are"
            )
        super().__init__(source)

    def layer(self, i: int) -> Part:
        b = f"blk.{i}."
        attn_norm = Named("attn_norm", self.norm(b + "attn_norm", self.d))
        after = Named("attn_post_norm", self.norm(b + "post_attention_norm", self.d))
        post = Named("ffn_post_norm", self.norm(b + "post_ffw_norm", self.d))
        mlp = self.mixture(i) if self.source.has(b + "ffn_gate_inp.weight") else self.dense(i)
        scale = self.source.optional_vector(b + "layer_output_scale.weight", 1)
        end = [] if scale is None else [Times(float(scale))]
        return Then(
            Named("attn_out", Add("attn", attn_norm, self.normalised_attention(i), after)),
            Named("l_out", Then(Add("mlp", mlp, post), *end)),
        )

    def dense(self, i: int) -> Part:
        return Then(Named("ffn_norm", self.norm(f"blk.{i}.ffn_norm", self.d)), self.gated_mlp(i, gelu))

    def mixture(self, i: int) -> Part:
        """An MLP beside experts whose router sees what enters the norms of both; each side has two norms of its own."""
        b, eps = f"blk.{i}.", self.source.number("attention.layer_norm_rms_epsilon")
        plain = self.experts(i, self.routing(i), self.source.per_layer("expert_feed_forward_length", i), gelu)
        sharpness = self.source.vector(b + "ffn_gate_inp.scale", self.d) / math.sqrt(self.d)
        scales = self.source.optional_vector(b + "ffn_down_exps.scale", self.n_expert)

        def expert(e: int) -> Part:
            return plain.expert(e) if scales is None else Then(plain.expert(e), Times(float(scales[e])))

        experts = replace(
            plain,
            router=Then(RMSNorm(sharpness, eps), plain.router),
            before=Named("ffn_norm_2", self.norm(b + "pre_ffw_norm_2", self.d)),
            expert=expert,
        )
        one = Then(
            Named("ffn_norm_1", self.norm(b + "ffn_norm", self.d)),
            self.gated_mlp(i, gelu),
            Named("ffn_mlp", self.norm(b + "post_ffw_norm_1", self.d)),
        )
        return Beside(one, Then(experts, Named("ffn_moe", self.norm(b + "post_ffw_norm_2", self.d))))

    def normalised_attention(self, i: int) -> Attention:
        """Scores are not scaled; a layer without values takes its keys as they are before their norm."""
        eps, n_head_kv = self.source.number("attention.layer_norm_rms_epsilon"), self.n_head_kv(i)
        plain = self.attention(i, norms="head")
        return replace(plain, v=Then(plain.v, HeadNorm(n_head_kv, eps)), scale=1.0)

    def value_projection(self, i: int) -> str:
        return "v" if self.source.has(f"blk.{i}.attn_v.weight") else "k"

    # --- sizes and positions ----------------------------------------------------------------------------------

    def window(self, i: int) -> int | None:
        if not self.source.is_array("attention.sliding_window_pattern"):
            key = "gemma4.attention.sliding_window_pattern"
            raise UserError(f"{self.source.file.path}: the key {key!r} is missing or no list of the local layers")
        return self.local_window(i, 1)

    def d_key(self, i: int) -> int:
        return super().d_key(i) if self.window(i) is None else self.source.count("attention.key_length_swa")

    def d_value(self, i: int) -> int:
        return super().d_value(i) if self.window(i) is None else self.source.count("attention.value_length_swa")

    def rope(self, i: int) -> Rope | None:
        n_rot = self.source.count("rope.dimension_count", super().d_key(i))
        if self.window(i) is None:
            freqs = self.source.vector("rope_freqs.weight", self.d_key(i) // 2)[: n_rot // 2]
            return self.plain_rope(i, n_rot=n_rot, factors=Factors(freqs, freqs, self.n_ctx_orig))
        n_rot = self.source.count("rope.dimension_count_swa", n_rot)
        return self.plain_rope(i, n_rot=n_rot, base=self.source.number("rope.freq_base_swa", 10000.0), scale=1.0)

    def output_head(self) -> Part:
        return self.capped_head(self.source.number("final_logit_softcapping", 30.0))
