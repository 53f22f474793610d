"""lfm2, lfm2moe: Liquid AI's LFM2, whose layers are short convolutions or attention.

llama.cpp calls the output norm token_embd_norm, and knows the convolutions' layers by their having no key/value heads.
"""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.mixture import Mixture
from ggufjac.families.bases.statespaces import StateSpaces
from ggufjac.families.parts import Named, Part, Residual, Sequential, ShortConv

#: llama.cpp's names of intermediate values; the braces are in them.
HF = "model.layers.{}."


class LFM2(StateSpaces, Mixture):
    """LFM2, dense (350M, 700M, 1.2B, 2.6B) or with experts (8B-A1B, 24B-A2B): gated short convolutions in most layers,
    attention with queries and keys normalised per head in the others; SwiGLU."""

    architectures = ("lfm2", "lfm2moe")
    output_norm_name = "token_embd_norm"

    def layer(self, i: int) -> Part:
        b = f"blk.{i}."
        if self.recurrent(i):
            mixer = Named(HF + "conv.out_proj", self._short_conv(i))
        else:
            mixer = Named(HF + "self_attn.out_proj", self.attention(i, norms="head"))
        norm = Named(HF + "operator_norm", self.norm(b + "attn_norm", self.d))
        ffn_norm = Named(HF + "ffn_out", self.norm(b + "ffn_norm", self.d))  # llama.cpp renames the norm's value
        return Sequential(Residual("attn", norm, mixer), Named("l_out", Residual("mlp", ffn_norm, self._mlp(i))))

    def window(self, i: int) -> int | None:
        if self.source.architecture != "lfm2":
            return None
        return self.source.integer("attention.sliding_window", 0) or None

    def _mlp(self, i: int) -> Part:
        if self.source.architecture == "lfm2" or i < self.source.integer("leading_dense_block_count", 0):
            return self.gated_mlp(i)
        bias = self.source.vector(f"blk.{i}.exp_probs_b.bias", self.n_expert)
        routing = replace(self.routing(i), gating=self.described_gating(), selection_bias=bias)
        return self.experts(i, routing, self.source.per_layer("expert_feed_forward_length", 0))

    def _short_conv(self, i: int) -> ShortConv:
        b, d = f"blk.{i}.shortconv.", self.d
        return ShortConv(
            projection=self.linear(b + "in_proj", 3 * d, d),
            kernel=self.source.table(b + "conv.weight", d, self.source.count("shortconv.l_cache")),
            out=self.linear(b + "out_proj", d, d),
        )
