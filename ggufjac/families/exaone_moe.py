"""exaone-moe: K-EXAONE.

As llama.cpp has it, local layers rotate with the base of `rope.freq_base`, whatever `rope.freq_base_swa` says.
"""

from __future__ import annotations

from ggufjac.families.bases.mixture import Mixture
from ggufjac.families.parts import Part, Rope

#: One layer in four sees everything.
PERIOD = 4


class ExaoneMoE(Mixture):
    """K-EXAONE (236B-A23B): queries and keys normalised per head, three of four layers with a sliding window and RoPE,
    the others with neither; leading dense layers, then a shared expert and routed ones with a selection bias."""

    architectures = ("exaone-moe",)

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i, norms="head"), self.mlp(i))

    def n_ff_shared(self, i: int) -> int:
        return self.source.integer("expert_shared_feed_forward_length", 0) or self.n_ff_expert(i)

    def window(self, i: int) -> int | None:
        return self.source.count("attention.sliding_window") if self.is_local(i, PERIOD) else None

    def rope(self, i: int) -> Rope | None:
        rotates = self.plain_rope(i, factors=self.rope_freqs(i))
        return rotates if self.is_local(i, PERIOD) else None
