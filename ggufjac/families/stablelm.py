"""stablelm: StableLM 1 to 2, 12B included, and models built like them."""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.layernorm import LayerNormFamily
from ggufjac.families.parts import Part


class StableLM(LayerNormFamily):
    """StableLM 3B, Zephyr and 2: LayerNorm, RoPE on part of each head, SwiGLU, optional biases of q, k and v; in
    the 12B attention and MLP side by side, and a LayerNorm for every head's queries and keys."""

    architectures = ("stablelm",)

    def layer(self, i: int) -> Part:
        b, attention = f"blk.{i}.", self.attention(i)
        if self.source.has(b + "attn_q_norm.weight"):
            q_norm = self.head_norm(b + "attn_q_norm", self.n_head(i), self.d_key(i))
            attention = replace(attention, q_norm=q_norm)
        if self.source.has(b + "attn_k_norm.weight"):
            k_norm = self.head_norm(b + "attn_k_norm", self.n_head_kv(i), self.d_key(i))
            attention = replace(attention, k_norm=k_norm)
        sequential = self.source.has(b + "ffn_norm.weight")
        join = self.block if sequential else self.parallel_block
        return join(i, attention, self.gated_mlp(i))
