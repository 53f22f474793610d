"""exaone and exaone4: EXAONE 3.0, 3.5 and 4.0.

As llama.cpp has it: of EXAONE 4 only a model of 64 layers has sliding windows, and only there do the global layers have
no RoPE; local layers rotate with the base of `rope.freq_base`, whatever `rope.freq_base_swa` says.
"""

from __future__ import annotations

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Named, Part, Residual, Rope, Sequential

#: llama.cpp recognises the 32B, whose every fourth layer is a global one, by its number of layers.
LAYERS_32B, PERIOD, WINDOW = 64, 4, 4096


class Exaone(Family):
    """EXAONE 3.0 and 3.5: pre-norm blocks, grouped-query attention with Llama 3's scaling of RoPE, SwiGLU."""

    architectures = ("exaone",)

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i), self.gated_mlp(i))

    def rope(self, i: int) -> Rope | None:
        return self.plain_rope(i, factors=self.rope_freqs(i))


class Exaone4(Exaone):
    """EXAONE 4.0: norms after attention and MLP, queries and keys normalised per head, SwiGLU; in the 32B three of four
    layers see a sliding window, and the others have no RoPE."""

    architectures = ("exaone4",)

    def layer(self, i: int) -> Part:
        attn_norm = Named("attn_post_norm", self.norm(f"blk.{i}.post_attention_norm", self.d))
        ffn_norm = self.norm(f"blk.{i}.post_ffw_norm", self.d)
        return Sequential(
            Named("ffn_inp", Residual("attn", self.attention(i, norms="head"), attn_norm)),
            Named("l_out", Residual("mlp", self.gated_mlp(i), ffn_norm)),
        )

    def window(self, i: int) -> int | None:
        return self.local_window(i, PERIOD, WINDOW) if self.n_layer == LAYERS_32B else None

    def rope(self, i: int) -> Rope | None:
        if self.n_layer == LAYERS_32B and self.window(i) is None:
            return None
        return super().rope(i)
