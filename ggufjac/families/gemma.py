"""gemma: Gemma 1 and CodeGemma, and what all Gemmas share.

The norm weights of these files already hold the 1 that Gemma adds to them.
"""

from __future__ import annotations

import numpy as np

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Attention, Elementwise, Named, Part, Sequential
from ggufjac.families.parts.activations import gelu, softcap


class Gemma(Family):
    """Gemma 1 and CodeGemma: pre-norm blocks, GeGLU, large heads, embeddings scaled by sqrt(d) and tied."""

    architectures = ("gemma",)
    plain_base = True

    @property
    def embedding_scale(self) -> float:
        # llama.cpp multiplies by the float32 value of sqrt(d)
        return float(np.sqrt(np.float32(self.d)))

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i), self.gated_mlp(i, gelu), middle="sa_out")

    def sandwich(self, i: int, attention: Attention) -> Part:
        """Gemma 2 and 3: attention and MLP are normalised once more before they are added."""
        return self.block(
            i,
            attention,
            self.gated_mlp(i, gelu),
            after_attention=[Named("attn_post_norm", self.norm(f"blk.{i}.post_attention_norm", self.d))],
            after_mlp=[Named("ffn_post_norm", self.norm(f"blk.{i}.post_ffw_norm", self.d))],
            middle="sa_out",
        )

    def capped_head(self, limit: float) -> Part:
        """The head, its logits limited to +-limit; 0 switches that off."""
        head = self.head_matrix()
        return Sequential(head, Elementwise(softcap(limit))) if limit else Sequential(head)
