"""maincoder: Maincode's Maincoder 1B."""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Part


class Maincoder(Family):
    """Maincoder 1B: pre-norm blocks, queries and keys normalised per head after RoPE, SwiGLU."""

    architectures = ("maincoder",)
    pairing = "adjacent"

    def layer(self, i: int) -> Part:
        return self.block(i, replace(self.attention(i, norms="head"), rope_first=True), self.gated_mlp(i))
