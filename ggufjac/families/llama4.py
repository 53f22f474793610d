"""llama4: the text models of Llama 4 Scout and Maverick.

As llama.cpp has it: chunks of 8192 positions and the temperature's numbers are fixed, whatever the file says; the model
with 128 experts (Maverick) does not normalise queries and keys; every fourth layer has no RoPE, even where
`attention.sliding_window_pattern` gives the chunks to other layers.
"""

from __future__ import annotations

from dataclasses import replace

from ggufjac.errors import UserError
from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Attention, Parallel, Part, RMSNorm, Rope, Temperature

#: One layer in four sees everything, and one in four has no RoPE.
PERIOD = 4
CHUNK = 8192
TEMPERATURE = Temperature(scale=0.1, step=8192, offset=1)
#: Maverick's experts.
EXPERTS_WITHOUT_NORM = 128


class Llama4(Family):
    """Llama 4 Scout and Maverick: three of four layers see chunks and normalise rotated queries and keys, the others
    have no RoPE and a temperature; a shared expert, and experts whose sigmoid weighs what enters them."""

    architectures = ("llama4",)
    pairing = "adjacent"

    def layer(self, i: int) -> Part:
        if (i + 1) % self.source.count("interleave_moe_layer_step"):
            return self.block(i, self.chunked_attention(i), self.gated_mlp(i))
        n_ff = self.source.per_layer("expert_feed_forward_length", i)
        routing = replace(self.routing(i), gating="sigmoid of chosen", normalised=False)
        experts = replace(self.experts(i, routing, n_ff), weigh_first=True)
        shared = self.gated_mlp(i, kind="_shexp", n_ff=n_ff)
        # in these layers llama.cpp calls something else ffn_norm
        ffn_norm = self.norm(f"blk.{i}.ffn_norm", self.d)
        return self.block(i, self.chunked_attention(i), Parallel(experts, shared), ffn_norm=ffn_norm)

    def chunked_attention(self, i: int) -> Attention:
        plain = replace(self.attention(i), chunk=self.chunk(i))
        if plain.rope is None:
            return replace(plain, temperature=TEMPERATURE)
        if self.n_expert == EXPERTS_WITHOUT_NORM:
            return plain
        norm = RMSNorm(None, self.source.number("attention.layer_norm_rms_epsilon"))
        return replace(plain, q_norm=norm, k_norm=norm, rope_first=True)

    def chunk(self, i: int) -> int | None:
        """The size of the chunks of layer i."""
        if self.source.integer("attention.sliding_window", CHUNK) == 0:
            raise UserError(f"{self.source.file.path}: Llama 4 without chunks is not known to llama.cpp either")
        return CHUNK if self.is_local(i, PERIOD) else None

    def rope(self, i: int) -> Rope | None:
        if (i + 1) % PERIOD == 0:
            return None
        rope = self.plain_rope(i) if self.chunk(i) is None else self.rope_of_local_layers(i)
        return replace(rope, factors=self.rope_freqs(i))
