"""gemma2: Gemma 2."""

from __future__ import annotations

import math
from dataclasses import replace

from ggufjac.families.gemma import Gemma
from ggufjac.families.parts import Part, Rope

#: Every second layer sees everything.
PERIOD = 2
WINDOW = 4096
#: llama.cpp recognises the 27B by its number of layers.
LAYERS_27B = 46


class Gemma2(Gemma):
    """Gemma 2: norms before and after attention and MLP, soft-capped scores and logits, GeGLU, scaled embeddings; every
    second layer sees a sliding window.

    The 27B divides its scores by sqrt(d / n_head) instead of sqrt(d_head).
    """

    architectures = ("gemma2",)
    plain_base = True

    def layer(self, i: int) -> Part:
        attention = replace(self.attention(i), softcap=self.source.number("attn_logit_softcapping", 50.0))
        if self.n_layer == LAYERS_27B:
            attention = replace(attention, scale=1 / math.sqrt(self.d // self.n_head(0)))
        return self.sandwich(i, attention)

    def window(self, i: int) -> int | None:
        return self.local_window(i, PERIOD, WINDOW)

    def rope(self, i: int) -> Rope | None:
        return self.plain_rope(i) if self.window(i) is None else self.rope_of_local_layers(i)

    def output_head(self) -> Part:
        return self.capped_head(self.source.number("final_logit_softcapping", 30.0))
