"""phi3: Phi-3, 3.5 and 4 as llama.cpp runs them.

Two differences to the models' own definition, both llama.cpp's: the sliding window of Phi-3 mini is not applied, and
LongRoPE's short or long factors are chosen once for the whole run, by the size of the context (a multiple of 256) and
not by the length of the prompt.
"""

from __future__ import annotations

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Part, Rope


class Phi3(Family):
    """Phi-3, Phi-3.5 and Phi-4: pre-norm blocks, q, k, v in one matrix, gate and up in another, SwiGLU, RoPE on part of
    each head with LongRoPE's factors and magnitude."""

    architectures = ("phi3",)

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i), self.fused_mlp(i))

    def rope(self, i: int) -> Rope | None:
        return self.plain_rope(i, factors=self.long_factors(i))
