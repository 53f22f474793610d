"""nanbeige: Nanbeige 4.2 and others of its kind, whose blocks are passed more than once."""

from __future__ import annotations

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Named, Part, Rope, Sequential


class Nanbeige(Family):
    """Nanbeige: pre-norm blocks, grouped-query attention with RoPE, SwiGLU; the stream passes all blocks several times
    where the file says so, with the output norm between two passes unless it says otherwise.

    Layers are counted as llama.cpp does: those of the second pass follow those of the first.
    """

    architectures = ("nanbeige",)
    pairing = "adjacent"

    @property
    def loops(self) -> int:
        return self.source.count("num_loops", 1)

    def layer(self, i: int) -> Part:
        n = self.n_layer // self.loops
        block = self.block(i % n, self.attention(i % n), self.gated_mlp(i % n))
        if (i + 1) % n or i + 1 == self.n_layer or self.source.flag("skip_loop_final_norm", False):
            return block
        return Sequential(block, Named("loop_norm", self.final_norm()))

    def rope(self, i: int) -> Rope | None:
        return self.plain_rope(i, factors=self.rope_freqs(i))
