"""afmoe: Arcee's Trinity.

As llama.cpp has it, every fourth layer has no RoPE, even where `attention.sliding_window_pattern` gives the windows to
other layers, and embeddings are multiplied by sqrt(d) whatever the file says.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ggufjac.families.bases.mixture import Mixture
from ggufjac.families.parts import Attention, Named, Part, Rope

#: One layer in four sees everything, and one in four has no RoPE.
PERIOD = 4


class AfMoE(Mixture):
    """Arcee's Trinity (Nano, Mini, Large): norms before and after each part, gated attention with queries and keys
    normalised per head, a sliding window and RoPE in three of four layers; shared and routed experts with a selection
    bias."""

    architectures = ("afmoe",)
    gating = "sigmoid"

    @property
    def embedding_scale(self) -> float:
        # llama.cpp multiplies by the float32 value of sqrt(d)
        return float(np.sqrt(np.float32(self.d)))

    def layer(self, i: int) -> Part:
        b = f"blk.{i}."
        return self.block(
            i,
            self.gated_attention(i),
            self.mlp(i),
            after_attention=[Named("attn_post_norm", self.norm(b + "post_attention_norm", self.d))],
            after_mlp=[Named("ffn_post_norm", self.norm(b + "post_ffw_norm", self.d))],
        )

    def gated_attention(self, i: int) -> Attention:
        """Attention whose heads' readings are multiplied by the sigmoid of a gate."""
        gate = self.linear(f"blk.{i}.attn_gate", self.n_head(i) * self.d_key(i), self.d)
        return replace(self.attention(i, norms="head"), gate=gate)

    def window(self, i: int) -> int | None:
        size = self.source.count("attention.sliding_window")  # llama.cpp ends the process without one
        return size if self.is_local(i, PERIOD) else None

    def rope(self, i: int) -> Rope | None:
        if (i + 1) % PERIOD == 0:
            return None
        return self.plain_rope(i) if self.window(i) is None else self.rope_of_local_layers(i)
