"""minicpm3: MiniCPM 3, whose multipliers llama.cpp fixes (the file has no keys for them)."""

from __future__ import annotations

import math
from dataclasses import replace

from ggufjac.families.deepseek2 import DeepSeek2
from ggufjac.families.minicpm import DEPTH, EMBEDDINGS, WIDTH
from ggufjac.families.parts import Part, Rope, Scale, Sequential, Temperature


class MiniCPM3(DeepSeek2):
    """MiniCPM 3 4B: latent attention (MLA) with LongRoPE's factors, SwiGLU, multipliers for embeddings, residuals and
    logits."""

    architectures = ("minicpm3",)

    @property
    def embedding_scale(self) -> float:
        return EMBEDDINGS

    def layer(self, i: int) -> Part:
        after = [Scale(DEPTH / math.sqrt(self.n_layer))]
        return self.block(i, self.latent_attention(i), self.gated_mlp(i), after_attention=after, after_mlp=after)

    def latent_rope(self, i: int) -> Rope:
        return replace(super().latent_rope(i), pairing="halves", factors=self.long_factors(i))

    @property
    def log_multiplier(self) -> float:
        return 0.0

    def sharpness(self, i: int) -> float:
        return 1.0

    def temperature(self) -> Temperature | None:
        return None

    def output_head(self) -> Part:
        return Sequential(Scale(WIDTH / self.d), self.head_matrix())
