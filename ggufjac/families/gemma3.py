"""gemma3: the text part of Gemma 3, 270M to 27B, and models built like it."""

from __future__ import annotations

import math
from dataclasses import replace

from ggufjac.families.bases.hyperparameters import PLAIN_BASE
from ggufjac.families.bases.source import Source
from ggufjac.families.gemma import Gemma
from ggufjac.families.parts import Part, Rope

#: One layer in six sees everything.
PERIOD = 6
#: llama.cpp recognises the 27B by its number of layers.
LAYERS_27B = 62
#: Layers of the sizes whose global layers were stretched eightfold: 4B, 12B, 27B (Gemma 3 report, arXiv 2503.19786).
STRETCHED = (34, 48, 62)


class Gemma3(Gemma):
    """Gemma 3 at all sizes: norms before and after attention and MLP, queries and keys normalised per head, GeGLU,
    scaled embeddings; five of six layers see a sliding window and rotate with a base of their own.

    Local layers ignore the scaling that stretches the global layers of the larger models. The 27B divides its scores
    by sqrt(d / n_head) instead of sqrt(d_head).
    """

    architectures = ("gemma3",)
    plain_base = False

    def __init__(self, source: Source) -> None:
        if not source.has_key("attention.layer_norm_rms_epsilon"):
            known = {"attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 1e6}
            if source.count("block_count") in STRETCHED:
                known["rope.scaling.factor"] = 8.0
            source.assume(known, "Gemma 3's own values, which files made by Ollama lack; llama.cpp loads none of these")
        super().__init__(source)

    def layer(self, i: int) -> Part:
        attention = self.attention(i, norms="head")
        if self.n_layer == LAYERS_27B:
            attention = replace(attention, scale=1 / math.sqrt(self.d // self.n_head(0)))
        return self.sandwich(i, attention)

    def window(self, i: int) -> int | None:
        return self.local_window(i, PERIOD)

    def rope(self, i: int) -> Rope | None:
        if self.window(i) is None:
            return self.plain_rope(i)
        return self.plain_rope(i, base=self.source.positive("rope.freq_base_swa", PLAIN_BASE), scale=1.0)

    def output_head(self) -> Part:
        return self.capped_head(self.source.number("final_logit_softcapping", 0.0))
