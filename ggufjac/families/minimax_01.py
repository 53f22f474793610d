"""minimax-01: MiniMax Text 01 and M1, whose layers have lightning attention or attention with positions.

The stream is what the norms give: attention and experts add to their own normalised input, multiplied by a constant.
As llama.cpp has it: the experts' size is `feed_forward_length`.
"""

from __future__ import annotations

import math

import torch

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Elementwise, Named, Part, Residual, Sequential, interleaved
from ggufjac.families.parts.activations import silu
from ggufjac.families.parts.lightning import LightningAttention

#: One layer in eight has attention, where the file does not say otherwise.
PERIOD = 8


class MiniMax01(Family):
    """MiniMax Text 01 and M1: lightning attention with fixed decays in seven of eight layers, attention with RoPE on
    part of each head in the eighth; norms on the stream itself, residuals multiplied by a constant, experts weighted by
    the softmax over all of them, divided by the sum over the chosen ones."""

    architectures = ("minimax-01",)

    def layer(self, i: int) -> Part:
        b, scale = f"blk.{i}.", self.source.number("residual_scale")
        mixer = Named("attn_out", self.lightning(i)) if self.recurrent(i) else self.attention(i)
        experts = self.experts(i, self.routing(i), self.n_ff(i))
        return Sequential(
            Named("attn_norm", self.norm(b + "attn_norm", self.d)),
            Named("ffn_inp", Residual("attn", mixer, scale=scale)),
            Named("ffn_norm", self.norm(b + "ffn_norm", self.d)),
            Named("l_out", Residual("mlp", experts, scale=scale)),
        )

    def recurrent(self, i: int) -> bool:
        """Whether layer i has lightning attention."""
        key = "attention.recurrent_layers"
        if self.source.is_array(key):
            return bool(self.source.per_layer(key, i))
        return (i + 1) % self.source.count("full_attention_interval", PERIOD) != 0

    def lightning(self, i: int) -> LightningAttention:
        b, n_head, d = f"blk.{i}.", self.n_head(i), self.d_key(i)
        whole, act = self.linear(b + "attn_qkv", 3 * n_head * d, self.d), Elementwise(silu)
        q, k, v = (Sequential(interleaved(whole, k * d, (k + 1) * d, 3 * d), act) for k in range(3))
        return LightningAttention(
            q=q,
            k=k,
            v=v,
            decay=self.decays(i),
            norm=self.norm(b + "attn_norm_2", n_head * d),
            gate=self.linear(b + "attn_gate", n_head * d, self.d),
            out=self.linear(b + "attn_output", self.d, n_head * d),
        )

    def decays(self, i: int) -> torch.Tensor:
        """[n_head] float64: a geometric sequence as ALiBi's, smaller from layer to layer, as in llama.cpp."""
        ratio = 2 ** -(2 ** -(math.log2(self.n_head(i)) - 3))
        depth = 1 - i / max(1, self.n_layer - 1) + 1e-5
        return depth * ratio ** torch.arange(1, self.n_head(i) + 1, dtype=torch.float64)
