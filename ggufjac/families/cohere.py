"""command-r and cohere2: Cohere's Command R, R+, R7B, A and Aya.

llama.cpp decides by the number of layers whether queries and keys are normalised, and takes the embeddings as the head.
In cohere2 it reads a base for the local layers (rope.freq_base_swa) and does not use it.
"""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.layernorm import LayerNormFamily
from ggufjac.families.parts import Attention, Linear, Part, Rope, Scale, Sequential

#: Models with so many layers (Command R+) normalise the heads of queries and keys.
LAYERS_WITH_NORMS = 64
#: Cohere 2: one layer in four sees everything.
PERIOD = 4


class CommandR(LayerNormFamily):
    """Command R, Command R+ and Aya: attention and MLP side by side behind one LayerNorm, SwiGLU, embeddings as
    the head, logits multiplied by a constant; in Command R+ a LayerNorm for every head's queries and keys."""

    architectures = ("command-r",)
    pairing = "adjacent"

    def layer(self, i: int) -> Part:
        return self.parallel_block(i, self.normed_attention(i), self.gated_mlp(i))

    def normed_attention(self, i: int) -> Attention:
        attention = self.attention(i)
        if self.n_layer < LAYERS_WITH_NORMS:
            return attention
        q_norm = self.head_norm(f"blk.{i}.attn_q_norm", self.n_head(i), self.d_key(i))
        k_norm = self.head_norm(f"blk.{i}.attn_k_norm", self.n_head_kv(i), self.d_key(i))
        return replace(attention, q_norm=q_norm, k_norm=k_norm)

    def output_head(self) -> Part:
        scale = self.source.number("logit_scale", 0.0)
        head = Linear(self.embedding)
        return Sequential(head, Scale(scale)) if scale else head


class Cohere2(CommandR):
    """Command R7B, Command A and Aya 2: Command R with a sliding window and RoPE in three of four layers, and
    neither in the fourth."""

    architectures = ("cohere2",)

    def normed_attention(self, i: int) -> Attention:
        return self.attention(i)

    def window(self, i: int) -> int | None:
        return self.local_window(i, PERIOD)

    def rope(self, i: int) -> Rope | None:
        return None if self.window(i) is None else self.plain_rope(i)
