"""deepseek2-ocr: the text part of DeepSeek-OCR, DeepSeek 2's experts behind plain attention."""

from __future__ import annotations

from ggufjac.errors import UserError
from ggufjac.families.bases.mixture import Mixture
from ggufjac.families.parts import Part, Rope

#: llama.cpp ends the process at any other base, and stretches nothing.
BASE = 10000.0


class DeepSeek2OCR(Mixture):
    """DeepSeek-OCR, its text part (3B, 570M active): attention with whole heads rotated, leading dense layers, then
    shared and routed experts weighted by the softmax over all of them."""

    architectures = ("deepseek2-ocr",)
    gating = "softmax"

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i), self.mlp(i))

    def rope(self, i: int) -> Rope | None:
        base, stretch = self.source.number("rope.freq_base", BASE), self.rope_stretch
        if (base, stretch) != (BASE, 1.0):
            raise UserError(
                f"{self.source.file.path}: DeepSeek-OCR with a RoPE of base {base} stretched by {stretch} is not known"
            )
        return Rope(self.d_key(i), BASE, self.pairing)
