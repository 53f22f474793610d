"""ernie4_5 and ernie4_5-moe: the text models of ERNIE 4.5.

Where llama.cpp differs from the models' own definition: it reads a bias of the attention's output and does not add it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from ggufjac.errors import UserError
from ggufjac.families.bases.base import Family
from ggufjac.families.bases.mixture import Mixture
from ggufjac.families.parts import Attention, Linear, Part, Routing


class Ernie4_5(Family):
    """ERNIE 4.5: pre-norm blocks, grouped-query attention with optional biases on q, k and v, SwiGLU."""

    architectures = ("ernie4_5",)
    pairing = "adjacent"

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i), self.gated_mlp(i))

    def attention(self, i: int, *, norms: Literal["head", "whole"] | None = None) -> Attention:
        name = f"blk.{i}.attn_output"
        weight = self.source.matrix(f"{name}.weight", self.d, self.n_head(i) * self.d_value(i))
        return replace(super().attention(i, norms=norms), out=Linear(weight, scale=self.scale_of(name)))


class Ernie4_5MoE(Ernie4_5, Mixture):
    """ERNIE 4.5 with experts: leading dense layers, experts chosen with a selection bias and weighted by the softmax
    over all of them, divided by the sum over the chosen ones; an optional shared expert."""

    architectures = ("ernie4_5-moe",)

    def layer(self, i: int) -> Part:
        step = self.source.count("interleave_moe_layer_step")
        if step != 1:
            raise UserError(f"{self.source.file.path}: dense layers between those with experts ({step}) are not known")
        return self.block(i, self.attention(i), self.mlp(i))

    def n_ff_shared(self, i: int) -> int:
        return self.source.integer("expert_shared_feed_forward_length", 0)

    def described_routing(self, i: int) -> Routing:
        return replace(self.routing(i), selection_bias=self.selection_bias(i))
