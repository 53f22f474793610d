"""dots1: rednote's dots.llm1."""

from __future__ import annotations

from ggufjac.families.bases.mixture import Mixture
from ggufjac.families.parts import Part


class Dots1(Mixture):
    """dots.llm1: full attention with queries and keys normalised per head, leading dense layers, then shared experts
    and routed ones chosen with a selection bias."""

    architectures = ("dots1",)

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i, norms="head"), self.mlp(i))
