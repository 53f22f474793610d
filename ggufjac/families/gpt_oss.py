"""gpt-oss: OpenAI's gpt-oss 20B and 120B.

Where llama.cpp differs from the models' own definition: GGUF has no key for YaRN's `truncate`, and llama.cpp always
rounds the range that is corrected.
"""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Bias, Elementwise, Named, Part, Rope
from ggufjac.families.parts.activations import clamp, oai_swish

#: Every second layer sees everything.
PERIOD = 2
#: The experts: min(gate, 7) sigmoid(1.702 min(gate, 7)) times (up within +-7, plus 1).
ALPHA, LIMIT = 1.702, 7.0


class GptOss(Family):
    """gpt-oss: attention sinks, a sliding window in every second layer, YaRN, biases everywhere, experts weighted by
    the softmax over the chosen ones, a clamped SwiGLU whose up gets 1 added."""

    architectures = ("gpt-oss",)

    def layer(self, i: int) -> Part:
        sinks = self.source.vector(f"blk.{i}.attn_sinks.weight", self.n_head(i))
        routing = replace(self.routing(i), gating="softmax of chosen", normalised=False)
        experts = self.experts(
            i,
            routing,
            self.source.per_layer("expert_feed_forward_length", i),
            oai_swish(ALPHA, LIMIT),
            after_up=[Elementwise(clamp(LIMIT)), Bias(1.0, "up + 1")],
        )
        ffn_norm = Named("attn_post_norm", self.norm(f"blk.{i}.post_attention_norm", self.d))
        return self.block(i, replace(self.attention(i), sinks=sinks), experts, ffn_norm=ffn_norm)

    def window(self, i: int) -> int | None:
        return self.local_window(i, PERIOD)

    def rope(self, i: int) -> Rope | None:
        return self.plain_rope(i) if self.window(i) is None else self.rope_of_local_layers(i)
