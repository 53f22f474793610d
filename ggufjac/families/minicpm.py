"""minicpm: MiniCPM 1, 2 and 4, whose older files leave the multipliers out."""

from __future__ import annotations

import math

from ggufjac.families.granite import Granite
from ggufjac.families.parts import Part, Rope

#: MiniCPM's multipliers of the embeddings and of what a layer writes, and the width that its logits are made for.
EMBEDDINGS, DEPTH, WIDTH = 12.0, 1.4, 256


class MiniCPM(Granite):
    """MiniCPM 1B and 2B, MiniCPM 4: llama with multipliers for embeddings, residuals and logits, which the file gives
    or which follow from its sizes; LongRoPE, optional biases."""

    architectures = ("minicpm",)

    @property
    def embedding_scale(self) -> float:
        return self.source.number("embedding_scale", EMBEDDINGS) or 1.0

    @property
    def residual_scale(self) -> float:
        return self.source.number("residual_scale", DEPTH / math.sqrt(self.n_layer))

    @property
    def logit_divisor(self) -> float:
        return self.source.number("logit_scale", WIDTH / self.d)

    def mixer(self, i: int) -> Part:
        return self.attention(i)

    def rope(self, i: int) -> Rope | None:
        return self.plain_rope(i, factors=self.rope_freqs(i))
