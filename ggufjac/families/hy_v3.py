"""hy_v3: Tencent's HY 3.

As llama.cpp has it: a layer is dense where the file has no router for it.
"""

from __future__ import annotations

from torch import Tensor

from ggufjac.families.bases.mixture import Mixture
from ggufjac.families.parts import Parallel, Part


class HyV3(Mixture):
    """HY 3: queries and keys normalised per head before RoPE, dense layers, then a shared expert and experts chosen
    with a selection bias by their sigmoid."""

    architectures = ("hy_v3",)
    gating = "sigmoid"

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i, norms="head"), self.mlp(i))

    def mlp(self, i: int) -> Part:
        if not self.source.has(f"blk.{i}.ffn_gate_inp.weight"):
            return self.gated_mlp(i)
        experts = self.experts(i, self.described_routing(i), self.n_ff_expert(i))
        return Parallel(experts, self.gated_mlp(i, kind="_shexp", n_ff=self.n_ff_shared(i)))

    def n_ff_shared(self, i: int) -> int:
        return self.source.integer("expert_shared_feed_forward_length", 0) or self.n_ff_expert(i)

    def selection_bias(self, i: int) -> Tensor | None:
        return self.source.optional_vector(f"blk.{i}.exp_probs_b", self.n_expert)
