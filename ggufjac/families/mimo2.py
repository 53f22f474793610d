"""mimo2: Xiaomi's MiMo V2.

As llama.cpp has it: without `rope.freq_base_swa` local layers rotate with the base 10000, and no scaling of RoPE
stretches them; a layer is dense where the file has no router for it; the scale of the values is applied to the output
of attention, which is the same.
"""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.mixture import Mixture
from ggufjac.families.parts import Part, Rope, Routing, Scale

LOCAL_BASE = 10000.0


class MiMo2(Mixture):
    """MiMo V2 (Flash and others): sliding windows with a RoPE base and heads of their own in the layers that the file
    names, optional attention sinks, values shorter than keys and perhaps scaled, dense layers, then experts chosen by
    their sigmoid with a selection bias, weights divided by their sum."""

    architectures = ("mimo2",)

    def layer(self, i: int) -> Part:
        sinks = self.source.optional_vector(f"blk.{i}.attn_sinks.weight", self.n_head(i))
        scale = self.source.number("attention.value_scale", 0.0)
        after = [Scale(scale)] if scale else []
        return self.block(i, replace(self.attention(i), sinks=sinks), self.mlp(i), after_attention=after)

    def mlp(self, i: int) -> Part:
        if not self.source.has(f"blk.{i}.ffn_gate_inp.weight"):
            return self.gated_mlp(i)
        return self.experts(i, self.described_routing(i), self.n_ff_expert(i))

    def described_routing(self, i: int) -> Routing:
        return replace(self.routing(i), gating="sigmoid", selection_bias=self.selection_bias(i))

    def window(self, i: int) -> int | None:
        return self.named_window(i)

    def rope(self, i: int) -> Rope | None:
        if self.window(i) is None:
            return self.plain_rope(i)
        return self.plain_rope(i, base=self.source.number("rope.freq_base_swa", LOCAL_BASE), scale=1.0)
