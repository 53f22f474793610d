"""cogvlm: the text part of CogVLM.

Tokens and pieces of images have matrices of their own in every layer; those for images (`vis_*`) are left out here. As
llama.cpp has it, RoPE has a base of 10000 and no scaling, whatever the file says.
"""

from __future__ import annotations

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Part, Rope

BASE = 10000.0


class CogVLM(Family):
    """CogVLM and CogVLM 2, their text part: pre-norm blocks, q, k and v in one matrix, RoPE, SwiGLU."""

    architectures = ("cogvlm",)

    def layer(self, i: int) -> Part:
        self.source.skip(f"blk.{i}.vis_")
        self.source.skip("rope_freqs.")  # llama.cpp reads it and does not use it
        return self.block(i, self.attention(i), self.gated_mlp(i))

    def rope(self, i: int) -> Rope | None:
        return Rope(self.d_key(i), BASE, self.pairing)
