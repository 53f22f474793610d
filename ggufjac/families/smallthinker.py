"""smallthinker: SmallThinker, whose router looks at the state that enters the layer, before attention.

As llama.cpp has it: a file with a window has one of 4096 positions, whatever it says, and then every fourth layer,
beginning with the first, has no RoPE, even where `attention.sliding_window_pattern` gives the windows to other layers.
"""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.mixture import Mixture
from ggufjac.families.parts import Append, Experts, Named, NamedSlice, Part, ResidualAt, Rope, Sequential, Slice
from ggufjac.families.parts.activations import relu

#: One layer in four sees everything, and one in four has no RoPE.
PERIOD = 4
WINDOW = 4096


class SmallThinker(Mixture):
    """SmallThinker (4B-A0.6B, 21B-A3B): experts chosen before attention, each an MLP gated by a ReLU; a sliding window
    and RoPE in three of four layers, or RoPE in all."""

    architectures = ("smallthinker",)

    def layer(self, i: int) -> Part:
        """In the layer the state is the stream, and behind it what entered."""
        b, d = f"blk.{i}.", self.d
        stream, entered = Slice(0, d), Slice(d, 2 * d)
        attention = Named("attn_norm", self.norm(b + "attn_norm", d)), self.attention(i)
        ffn_norm = Named("ffn_norm", self.norm(b + "ffn_norm", d))
        routing = replace(self.routing(i), gating=self.described_gating())
        plain = self.experts(i, routing, self.source.per_layer("expert_feed_forward_length", i), relu)
        experts: Experts = replace(plain, router=Sequential(entered, plain.router), before=Sequential(stream, ffn_norm))
        return Sequential(
            Append(),
            NamedSlice("ffn_inp", 0, d, ResidualAt("attn", 0, d, stream, *attention)),
            ResidualAt("mlp", 0, d, experts),
            Named("l_out", stream),
        )

    @property
    def windowed(self) -> bool:
        return self.source.integer("attention.sliding_window", 0) > 0

    def window(self, i: int) -> int | None:
        return WINDOW if self.windowed and self.is_local(i, PERIOD, global_first=True) else None

    def rope(self, i: int) -> Rope | None:
        if not self.windowed or self.n_layer == PERIOD:
            return self.plain_rope(i)
        if i % PERIOD == 0:
            return None
        return self.plain_rope(i) if self.window(i) is None else self.rope_of_local_layers(i)
