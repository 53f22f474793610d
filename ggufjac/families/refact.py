"""refact: Refact 1.6B.

As llama.cpp has it, biases of projections behind the queries, keys and values are read and not added.
"""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Linear, Part, Rope

#: The file has no key for it; llama.cpp sets it.
MAX_ALIBI_BIAS = 8.0


class Refact(Family):
    """Refact 1.6B: llama with ALiBi in place of RoPE, shared keys and values, SwiGLU."""

    architectures = ("refact",)

    def layer(self, i: int) -> Part:
        return self.block(i, replace(self.attention(i), alibi=MAX_ALIBI_BIAS), self.gated_mlp(i))

    def linear(self, name: str, n_out: int, n_in: int) -> Linear:
        made = super().linear(name, n_out, n_in)
        return (
            made if name.endswith(("attn_q", "attn_k", "attn_v", "attn_qkv")) else Linear(made.weight, scale=made.scale)
        )

    def rope(self, i: int) -> Rope | None:
        return None
