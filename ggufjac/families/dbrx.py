"""dbrx: DBRX."""

from __future__ import annotations

from ggufjac.families.bases.layernorm import LayerNormFamily
from ggufjac.families.parts import Named, Part


class DBRX(LayerNormFamily):
    """DBRX 132B-A36B: LayerNorms without biases, RoPE, a limit on queries, keys and values, experts weighted by the
    softmax over all of them, divided by the sum over the chosen ones."""

    architectures = ("dbrx",)

    def layer(self, i: int) -> Part:
        norm = Named("attn_out_norm", self.norm(f"blk.{i}.attn_output_norm", self.d))
        experts = self.experts(i, self.routing(i), self.n_ff(i))
        limited = self.limited(self.attention(i), self.source.number("attention.clamp_kqv"))
        return self.block(i, limited, experts, ffn_norm=norm)
