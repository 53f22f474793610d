"""arcee: Arcee's AFM 4.5B."""

from __future__ import annotations

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Part, PlainMLP, Rope
from ggufjac.families.parts.activations import relu_squared


class Arcee(Family):
    """Arcee AFM: llama with an MLP that has no gate and takes the square of ReLU."""

    architectures = ("arcee",)
    pairing = "adjacent"

    def layer(self, i: int) -> Part:
        n_ff = self.n_ff(i)
        up, down = self.linear(f"blk.{i}.ffn_up", n_ff, self.d), self.linear(f"blk.{i}.ffn_down", self.d, n_ff)
        return self.block(i, self.attention(i), PlainMLP(up, down, relu_squared))

    def rope(self, i: int) -> Rope | None:
        return self.plain_rope(i, factors=self.rope_freqs(i))
