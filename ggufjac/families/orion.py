"""orion: Orion 14B."""

from __future__ import annotations

from ggufjac.families.bases.layernorm import LayerNormFamily
from ggufjac.families.parts import Part


class Orion(LayerNormFamily):
    """Orion 14B: llama with LayerNorm in place of RMSNorm; only the norms have biases."""

    architectures = ("orion",)

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i), self.gated_mlp(i))
