"""minimax-m2: MiniMax M2.

As llama.cpp has it: the experts' size is `feed_forward_length`.
"""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.mixture import Mixture
from ggufjac.families.parts import Part


class MiniMaxM2(Mixture):
    """MiniMax M2: queries and keys normalised as a whole before RoPE on part of each head, experts chosen by their
    sigmoid with a selection bias, weights divided by their sum."""

    architectures = ("minimax-m2",)

    def layer(self, i: int) -> Part:
        routing = replace(self.routing(i), gating=self.described_gating(), selection_bias=self.selection_bias(i))
        return self.block(i, self.attention(i, norms="whole"), self.experts(i, routing, self.n_ff(i)))
