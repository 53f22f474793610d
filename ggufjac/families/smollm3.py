"""smollm3: SmolLM 3."""

from __future__ import annotations

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Part, Rope

#: Every fourth layer knows no positions.
PERIOD = 4


class SmolLM3(Family):
    """SmolLM 3: pre-norm blocks, SwiGLU, RoPE in three of four layers and no position encoding in the fourth."""

    architectures = ("smollm3",)
    pairing = "adjacent"

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i), self.gated_mlp(i))

    def rope(self, i: int) -> Rope | None:
        return None if (i + 1) % PERIOD == 0 else self.plain_rope(i)
