"""spark2_5: iFlytek's Spark 2.5."""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Part, Rope, per_head
from ggufjac.families.parts.activations import gelu


class Spark2_5(Family):
    """Spark 2.5 (1.7B): pre-norm blocks, attention with one sigmoid gate per head on its output, sliding windows in the
    layers that the file names, with a RoPE base of their own, GeGLU."""

    architectures = ("spark2_5",)

    def layer(self, i: int) -> Part:
        attention, n_head, n = self.attention(i), self.n_head(i), self.d_value(i)
        gate = per_head(self.linear(f"blk.{i}.attn_gate", n_head, self.d), n_head, n)
        return self.block(i, replace(attention, gate=gate), self.gated_mlp(i, gelu))

    def window(self, i: int) -> int | None:
        return self.named_window(i)

    def rope(self, i: int) -> Rope | None:
        return self.plain_rope(i) if self.window(i) is None else self.rope_of_local_layers(i)
