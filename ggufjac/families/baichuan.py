"""baichuan: Baichuan 1 and 2.

As llama.cpp has it, the number of layers decides about the positions: 32 (the 7B) mean RoPE, 40 (the 13B) ALiBi, and
any other number neither.
"""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Part, Rope

LAYERS_7B, LAYERS_13B = 32, 40
MAX_ALIBI_BIAS = 8.0


class Baichuan(Family):
    """Baichuan 1 and 2, 7B and 13B: llama with RoPE in the 7B and ALiBi in the 13B."""

    architectures = ("baichuan",)
    pairing = "adjacent"

    def layer(self, i: int) -> Part:
        alibi = MAX_ALIBI_BIAS if self.n_layer == LAYERS_13B else 0.0
        return self.block(i, replace(self.attention(i), alibi=alibi), self.gated_mlp(i))

    def rope(self, i: int) -> Rope | None:
        return self.plain_rope(i) if self.n_layer == LAYERS_7B else None
