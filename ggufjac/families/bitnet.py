"""bitnet: BitNet b1.58 as its first reproductions have it (1bitLLM); weights are what the file holds, three values."""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import GatedMLP, Linear, Named, Part, Sequential


class BitNet(Family):
    """BitNet b1.58 (700M, 1.3B, 3.3B): llama with one more norm before the output projections of attention and MLP,
    and embeddings as the head."""

    architectures = ("bitnet",)

    def layer(self, i: int) -> Part:
        attention, plain = self.attention(i), self.gated_mlp(i)
        attention = replace(attention, out=self.normed("attn", i, self.n_head(i) * self.d_value(i), attention.out))
        down = self.normed("ffn", i, self.n_ff(i), plain.down)
        return self.block(i, attention, GatedMLP(plain.gate, plain.up, down, plain.ratio))

    def normed(self, name: str, i: int, n: int, out: Part) -> Part:
        """An output projection with the norm before it."""
        return Sequential(Named(f"{name}_sub_norm", self.norm(f"blk.{i}.{name}_sub_norm", n)), out)

    def output_head(self) -> Part:
        return Linear(self.embedding)
