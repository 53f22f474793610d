"""gemma4: the text part of Gemma 4."""

from __future__ import annotations

import math
from dataclasses import replace

from ggufjac.errors import UserError
from ggufjac.families.bases.hyperparameters import PLAIN_BASE
from ggufjac.families.bases.wide_gemma import WideGemma
from ggufjac.families.parts import (
    Append,
    Factors,
    Inside,
    Named,
    NamedSlice,
    Parallel,
    Part,
    ResidualAt,
    RMSNorm,
    Rope,
    Scale,
    Sequential,
    Slice,
)
from ggufjac.families.parts.activations import gelu


class Gemma4(WideGemma):
    """Gemma 4 at all sizes: norms before and after each part, queries, keys and values normalised per head, local
    layers with heads and a RoPE of their own, global ones whose values may be their keys, GeGLU, optional experts; in
    E2B and E4B keys and values of earlier layers, and inputs of each layer's own."""

    architectures = ("gemma4",)

    @property
    def n_own(self) -> int:
        return self.n_layer - self.source.integer("attention.shared_kv_layers", 0)

    @property
    def n_input(self) -> int:
        return self.source.integer("embedding_length_per_layer_input")

    def layer(self, i: int) -> Part:
        b, d = f"blk.{i}.", self.d
        read = Sequential(Slice(0, d), Named("attn_norm", self.norm(b + "attn_norm", d)))
        after = Named("attn_post_norm", self.norm(b + "post_attention_norm", d))
        return Sequential(
            *([Append()] if i == 0 and self.n_input else []),
            *self.opened(i, read),
            self.named("attn_out", ResidualAt("attn", 0, d, self.attention_on_state(i, read), after)),
            self.named("l_out", *self.after_attention(i), *self.closed()),
        )

    def after_attention(self, i: int) -> list[Part]:
        """The MLP of layer i, what its own input adds, and the factor of the whole."""
        b, d = f"blk.{i}.", self.d
        mlp = self.mixture(i) if self.source.has(b + "ffn_gate_inp.weight") else self.dense(i)
        post = Named("ffn_post_norm", self.norm(b + "post_ffw_norm", d))
        parts: list[Part] = [ResidualAt("mlp", 0, d, Slice(0, d), mlp, post)]
        if self.n_input:
            norm = Named("per_layer_embd_out", self.norm(b + "post_norm", d))
            parts = [self.named("pe_in", *parts), ResidualAt("input", 0, d, self.gated_input(i, Slice(0, d)), norm)]
        scale = self.source.optional_vector(b + "layer_output_scale.weight", 1)
        return parts if scale is None else [*parts, Inside(0, d, Scale(float(scale)))]

    def named(self, name: str, *parts: Part) -> Part:
        """Parts whose first lane llama.cpp knows by a name."""
        return NamedSlice(name, 0, self.d, Sequential(*parts))

    def final_norm(self) -> Part:
        return Sequential(Slice(0, self.d), super().final_norm())

    def dense(self, i: int) -> Part:
        return Sequential(Named("ffn_norm", self.norm(f"blk.{i}.ffn_norm", self.d)), self.gated_mlp(i, gelu))

    def mixture(self, i: int) -> Part:
        """An MLP beside experts whose router sees what enters the norms of both; each side has two norms of its own."""
        b, eps = f"blk.{i}.", self.source.number("attention.layer_norm_rms_epsilon")
        plain = self.experts(i, self.routing(i), self.source.per_layer("expert_feed_forward_length", i), gelu)
        sharpness = self.source.vector(b + "ffn_gate_inp.scale", self.d) / math.sqrt(self.d)
        experts = replace(
            plain,
            router=Sequential(RMSNorm(sharpness, eps), plain.router),
            before=Named("ffn_norm_2", self.norm(b + "pre_ffw_norm_2", self.d)),
        )
        one = Sequential(
            Named("ffn_norm_1", self.norm(b + "ffn_norm", self.d)),
            self.gated_mlp(i, gelu),
            Named("ffn_mlp", self.norm(b + "post_ffw_norm_1", self.d)),
        )
        return Parallel(one, Sequential(experts, Named("ffn_moe", self.norm(b + "post_ffw_norm_2", self.d))))

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
        return self.plain_rope(i, n_rot=n_rot, base=self.source.positive("rope.freq_base_swa", PLAIN_BASE), scale=1.0)

    def output_head(self) -> Part:
        return self.capped_head(self.source.number("final_logit_softcapping", 30.0))
