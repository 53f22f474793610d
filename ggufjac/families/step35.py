"""step35: StepFun's Step 3.5 Flash.

As llama.cpp has it: global layers rotate half of the entries that the file says, and only there Llama 3's factors
count; without `rope.freq_base_swa` local layers rotate with the base 10000, and no scaling of RoPE stretches them; a
layer is dense where the file has no router for it. It gives the state that enters a layer the name attn_norm_in, and
none to what leaves the last one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from ggufjac.families.bases.limited import Limited
from ggufjac.families.parts import Attention, Factors, Named, Parallel, Part, Rope, Sequential, per_head

LOCAL_BASE = 10000.0


class Step35(Limited):
    """Step 3.5 Flash: sliding windows with a RoPE of their own in the layers that the file names, RoPE on half of each
    head in the others, one sigmoid gate per head, optional norms per head, dense layers, then a shared expert and
    experts chosen with a selection bias by their sigmoid, with limits on what their gates and ups give."""

    architectures = ("step35",)
    gating = "sigmoid"

    def layer(self, i: int) -> Part:
        block = self.block(i, self.gated_attention(i), self.mlp(i))
        return Sequential(Named("attn_norm_in", Sequential()), block)

    def mlp(self, i: int) -> Part:
        if not self.source.has(f"blk.{i}.ffn_gate_inp.weight"):
            return self.gated_mlp(i)
        experts = self.experts(i, self.described_routing(i), self.n_ff_expert(i))
        n_ff = self.source.count("expert_shared_feed_forward_length")
        return Parallel(experts, self.gated_mlp(i, kind="_shexp", n_ff=n_ff))

    def gated_attention(self, i: int) -> Attention:
        name, n_head = f"blk.{i}.attn_gate", self.n_head(i)
        norms: Literal["head"] | None = "head" if self.source.has(f"blk.{i}.attn_q_norm.weight") else None
        attention = self.attention(i, norms=norms)
        if not self.source.has(f"{name}.weight"):
            return attention
        return replace(attention, gate=per_head(self.linear(name, n_head, self.d), n_head, self.d_value(i)))

    def window(self, i: int) -> int | None:
        return self.named_window(i)

    def rope(self, i: int) -> Rope | None:
        n_rot = self.source.count("rope.dimension_count", self.d_key(i))
        if self.window(i) is not None:
            n_rot = self.source.count("rope.dimension_count_swa", n_rot)
            return self.plain_rope(i, base=self.source.number("rope.freq_base_swa", LOCAL_BASE), scale=1.0, n_rot=n_rot)
        return self.plain_rope(i, n_rot=n_rot // 2, factors=self._first_factors(i, n_rot // 4))

    def _first_factors(self, i: int, n: int) -> Factors | None:
        """The first n of the factors, of which there are as many as local layers could need."""
        factors = self.rope_freqs(i)
        if factors is None:
            return None
        short, long = (None if f is None else f[:n] for f in (factors.short, factors.long))
        return replace(factors, short=short, long=long)
