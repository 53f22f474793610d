"""bailingmoe2: inclusionAI's Ling 2 and Ring 2 without linear attention."""

from __future__ import annotations

from ggufjac.families.bases.mixture import Mixture
from ggufjac.families.parts import Part


class BailingMoE2(Mixture):
    """Ling 2 and Ring 2 (mini, flash, 1T): queries and keys normalised per head, RoPE on part of each head, leading
    dense layers, then shared experts and grouped routing with a selection bias."""

    architectures = ("bailingmoe2",)

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i, norms="head"), self.mlp(i), middle="sa_out")

    def n_ff_shared(self, i: int) -> int:
        one = self.source.integer("expert_shared_feed_forward_length", 0) or self.n_ff_expert(i)
        return one * self.source.integer("expert_shared_count")
