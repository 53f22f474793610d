"""hunyuan-dense, hunyuan-moe and hunyuan_vl: Tencent's Hunyuan 0.5B to 7B, A13B, and the text part of HunyuanOCR.

Files of HunyuanOCR have sections for RoPE. llama.cpp gives the fourth of them position 0 in a text, so that its pairs
do not rotate, where the model itself gives it the token's position like the others (XD-RoPE).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ggufjac.families.bases.base import Family
from ggufjac.families.bases.sections import KEY, sectioned
from ggufjac.families.parts import Attention, Parallel, Part, Rope


class HunyuanDense(Family):
    """Hunyuan 0.5B to 7B: pre-norm blocks, queries and keys normalised per head after RoPE, whose base grows with the
    stretch of the context (NTK-aware), SwiGLU."""

    architectures = ("hunyuan-dense",)

    def layer(self, i: int) -> Part:
        return self.block(i, self.normalised_attention(i), self.gated_mlp(i))

    def normalised_attention(self, i: int) -> Attention:
        return replace(self.attention(i, norms="head"), rope_first=True)

    def rope(self, i: int) -> Rope:
        alpha = self.source.number("rope.scaling.alpha", 0.0)
        if alpha <= 0:
            return self.plain_rope(i)
        dim = np.float32(self.d_key(i))
        base = np.float32(self.rope_base)
        return self.plain_rope(i, base=float(base * np.float32(alpha) ** (dim / (dim - 2))))


class HunyuanMoE(HunyuanDense):
    """Hunyuan A13B: queries and keys normalised per head after RoPE, a shared expert beside experts weighted by the
    softmax over all of them, divided by the sum over the chosen ones."""

    architectures = ("hunyuan-moe",)

    def layer(self, i: int) -> Part:
        n_ff = self.source.integer("expert_shared_feed_forward_length", 0) or self.n_ff(i)
        experts = self.experts(i, self.routing(i), self.n_ff(i))
        return self.block(
            i, self.normalised_attention(i), Parallel(experts, self.gated_mlp(i, kind="_shexp", n_ff=n_ff))
        )

    def rope(self, i: int) -> Rope:
        return self.plain_rope(i)


class HunyuanVL(HunyuanDense):
    """HunyuanOCR and Hunyuan-VL, their text part: queries and keys normalised per head after RoPE by sections, of which
    the fourth does not rotate; SwiGLU."""

    architectures = ("hunyuan_vl",)

    def rope(self, i: int) -> Rope:
        rope = super().rope(i)
        time, height = (self.source.per_layer(KEY, k, 0) for k in range(2))
        return sectioned(self.source, rope) if time > 0 and height > 0 else rope
