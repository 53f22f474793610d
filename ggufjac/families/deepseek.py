"""deepseek: DeepSeek's first mixture of experts."""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.mixture import Mixture
from ggufjac.families.parts import Part, Routing


class DeepSeek(Mixture):
    """DeepSeek MoE 16B: llama with a leading dense layer, then shared experts and routed ones weighted by the softmax
    over all of them."""

    architectures = ("deepseek",)
    pairing = "adjacent"

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i), self.mlp(i))

    def described_routing(self, i: int) -> Routing:
        scale = self.source.number("expert_weights_scale", 0.0) or 1.0
        return replace(self.routing(i), normalised=False, scale=scale)
