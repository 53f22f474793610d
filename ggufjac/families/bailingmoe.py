"""bailingmoe: inclusionAI's Ling 1 (Bailing).

As llama.cpp has it, every layer has experts, whatever `leading_dense_block_count` says.
"""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.mixture import Mixture
from ggufjac.families.parts import Parallel, Part, Routing


class BailingMoE(Mixture):
    """Ling 1 (Lite, Plus, Coder): llama with shared experts and routed ones weighted by the softmax over all of them,
    divided by the sum over the chosen ones if the file says so."""

    architectures = ("bailingmoe",)
    pairing = "adjacent"

    def layer(self, i: int) -> Part:
        experts = self.experts(i, self.described_routing(i), self.n_ff_expert(i))
        shared = self.gated_mlp(i, kind="_shexp", n_ff=self.n_ff_shared(i))
        return self.block(i, self.attention(i), Parallel(experts, shared))

    def described_routing(self, i: int) -> Routing:
        return replace(
            self.routing(i),
            normalised=self.source.flag("expert_weights_norm", False),
            scale=self.source.number("expert_weights_scale", 0.0) or 1.0,
        )
