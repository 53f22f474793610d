"""gemma3: the text part of Gemma 3, 270M to 27B, and models built like it.

The norm weights of these files already hold the 1 that Gemma adds to them.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ggufjac.families.base import Family
from ggufjac.families.parts import Add, Elementwise, Named, Part, Rope, Then
from ggufjac.families.parts.activations import gelu, softcap

#: One layer in six sees everything.
PERIOD = 6
#: llama.cpp recognises the 27B by its number of layers.
LAYERS_27B = 62


class Gemma3(Family):
    """Gemma 3 at all sizes: norms before and after attention and MLP, queries and keys normalised per head, GeGLU,
    scaled embeddings; five of six layers see a sliding window and rotate with a base of their own.

    Local layers ignore the scaling that stretches the global layers of the larger models. The 27B divides its scores
    by sqrt(d / n_head) instead of sqrt(d_head).
    """

    architectures = ("gemma3",)
    gelu = True

    @property
    def embedding_scale(self) -> float:
        # llama.cpp multiplies by the float32 value of sqrt(d)
        return float(np.sqrt(np.float32(self.d)))

    def layer(self, i: int) -> Part:
        b, d = f"blk.{i}.", self.d
        attention = self.attention(i, head_norms=True)
        if self.n_layer == LAYERS_27B:
            attention = replace(attention, scale=1 / math.sqrt(d // self.n_head(0)))
        return Then(
            Named(
                "sa_out",
                Add(
                    "attn",
                    Named("attn_norm", self.norm(b + "attn_norm", d)),
                    attention,
                    Named("attn_post_norm", self.norm(b + "post_attention_norm", d)),
                ),
            ),
            Named(
                "l_out",
                Add(
                    "mlp",
                    Named("ffn_norm", self.norm(b + "ffn_norm", d)),
                    self.gated_mlp(i, gelu),
                    Named("ffn_post_norm", self.norm(b + "post_ffw_norm", d)),
                ),
            ),
        )

    def window(self, i: int) -> int | None:
        return self.source.count("attention.sliding_window") if self.is_local(i, PERIOD) else None

    def rope(self, i: int) -> Rope | None:
        if not self.is_local(i, PERIOD):
            return self.plain_rope(i)
        return self.plain_rope(i, base=self.source.number("rope.freq_base_swa", 10000.0), scale=1.0)

    def output_head(self) -> Part:
        limit = self.source.number("final_logit_softcapping", 0.0)
        head = self.head_matrix()
        return Then(head, Elementwise(softcap(limit))) if limit else Then(head)
