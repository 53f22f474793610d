"""olmoe: OLMoE, a mixture of many small experts."""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Part


class Olmoe(Family):
    """OLMoE: pre-norm blocks, queries and keys normalised as a whole before RoPE, experts weighted by the softmax over
    all of them."""

    architectures = ("olmoe",)

    def layer(self, i: int) -> Part:
        routing = replace(self.routing(i), normalised=False)
        return self.block(i, self.attention(i, norms="whole"), self.experts(i, routing, self.n_ff(i)))
