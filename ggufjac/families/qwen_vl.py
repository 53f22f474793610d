"""qwen2vl, qwen3vl, qwen3vlmoe: the text part of Qwen2-VL, Qwen2.5-VL and Qwen3-VL.

RoPE is the text models' but for the pairs that the sections give to no position of a token (`bases.sections`). In
Qwen3-VL these are two of 64, the last but two and but one, which llama.cpp leaves as they are where the models' own
definition lets them turn by the position in time: angles of less than 1e-6 per position. What Qwen3-VL adds behind
its first layers (DeepStack) comes from images alone.

llama.cpp does not read the norms' epsilon of a qwen2vl file, which says 1e-6, and takes 0.
"""

from __future__ import annotations

from ggufjac.families.bases.sections import sectioned
from ggufjac.families.parts import Part, RMSNorm, Rope
from ggufjac.families.qwen import Qwen2, Qwen3, Qwen3MoE

#: As good as 0 for all but a vector of zeros, which stays one.
NO_EPSILON = 1e-37


class Qwen2VL(Qwen2):
    """Qwen2-VL and Qwen2.5-VL, their text part: pre-norm blocks, biases on q, k and v, RoPE by sections, SwiGLU."""

    architectures = ("qwen2vl",)

    def norm(self, name: str, n: int) -> Part:
        return RMSNorm(self.source.vector(f"{name}.weight", n), NO_EPSILON)

    def rope(self, i: int) -> Rope | None:
        return sectioned(self.source, self.plain_rope(i))


class Qwen3VL(Qwen3):
    """Qwen3-VL (2B, 4B, 8B, 32B), its text part: queries and keys normalised per head before RoPE by sections that
    take turns, SwiGLU."""

    architectures = ("qwen3vl",)

    def rope(self, i: int) -> Rope | None:
        return sectioned(self.source, self.plain_rope(i), take_turns=True)


class Qwen3VLMoE(Qwen3MoE):
    """Qwen3-VL with experts (30B-A3B, 235B-A22B), its text part: queries and keys normalised per head before RoPE by
    sections that take turns, the chosen experts' softmax weights divided by their sum."""

    architectures = ("qwen3vlmoe",)

    def rope(self, i: int) -> Rope | None:
        return sectioned(self.source, self.plain_rope(i), take_turns=True)
