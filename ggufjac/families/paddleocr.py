"""paddleocr: the text part of PaddleOCR-VL, an ERNIE 4.5 with RoPE by sections (`bases.sections`)."""

from __future__ import annotations

from ggufjac.families.bases.base import Family
from ggufjac.families.bases.sections import sectioned
from ggufjac.families.parts import Part, Rope


class PaddleOCR(Family):
    """PaddleOCR-VL, its text part: pre-norm blocks, grouped-query attention with optional biases and RoPE by sections,
    SwiGLU."""

    architectures = ("paddleocr",)

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i), self.gated_mlp(i))

    def rope(self, i: int) -> Rope | None:
        return sectioned(self.source, self.plain_rope(i))
