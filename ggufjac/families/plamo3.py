"""plamo3: PLaMo 3.

As llama.cpp has it: without `rope.freq_base_swa` local layers rotate with the base 10000, whatever `rope.freq_base`
says, and no scaling of RoPE stretches them. It calls the norm before attention wqkv.
"""

from __future__ import annotations

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Named, Part, Residual, RMSNorm, Rope, Sequential

#: One layer in eight sees everything, where the file gives a window and no other period.
PERIOD = 8
LOCAL_BASE = 10000.0


class Plamo3(Family):
    """PLaMo 3 (2B, 8B, 31B): norms before and after attention and MLP, queries and keys normalised per head, q, k, v in
    one matrix, gate and up in another, SwiGLU; seven of eight layers see a sliding window."""

    architectures = ("plamo3",)

    def layer(self, i: int) -> Part:
        b = f"blk.{i}."
        norm, ffn_norm = Named("wqkv", self.norm(b + "attn_norm", self.d)), self.norm(b + "ffn_norm", self.d)
        attention = Named("attn_out", self.attention(i, norms="head"))
        after = Named("attn_post_norm", self._bare_norm(b + "post_attention_norm"))
        after_mlp = Named("ffn_post_norm", self._bare_norm(b + "post_ffw_norm"))
        return Sequential(
            Named("attn_residual", Residual("attn", norm, attention, after)),
            Named("l_out", Residual("mlp", Named("ffn_norm", ffn_norm), self.fused_mlp(i), after_mlp)),
        )

    def window(self, i: int) -> int | None:
        return self.local_window(i, PERIOD)

    def rope(self, i: int) -> Rope | None:
        if self.window(i) is None:
            return self.plain_rope(i)
        return self.plain_rope(i, base=self.source.number("rope.freq_base_swa", LOCAL_BASE), scale=1.0)

    def _bare_norm(self, name: str) -> RMSNorm:
        eps = self.source.number("attention.layer_norm_rms_epsilon")
        return RMSNorm(self.source.vector(name, self.d), eps)
