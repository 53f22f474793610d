"""arctic: Snowflake Arctic, whose experts read the state that entered the layer, before attention."""

from __future__ import annotations

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Append, Named, NamedSlice, Part, ResidualAt, Sequential, Slice


class Arctic(Family):
    """Snowflake Arctic (480B): attention, then a small SwiGLU, and beside both experts on the state that entered the
    layer, weighted by the softmax over all of them, divided by the sum over the chosen ones."""

    architectures = ("arctic",)
    pairing = "adjacent"

    def layer(self, i: int) -> Part:
        """In the layer the state is the stream, and behind it what entered."""
        b, d = f"blk.{i}.", self.d
        stream, entered = Slice(0, d), Slice(d, 2 * d)
        attention = Named("attn_norm", self.norm(b + "attn_norm", d)), self.attention(i)
        dense = Named("ffn_norm", self.norm(b + "ffn_norm", d)), self.gated_mlp(i, n_ff=d)
        experts = (
            Named("ffn_norm_exps", self.norm(b + "ffn_norm_exps", d)),
            self.experts(i, self.routing(i), self.n_ff(i)),
        )
        return Sequential(
            Append(),
            NamedSlice("ffn_inp", 0, d, ResidualAt("attn", 0, d, stream, *attention)),
            ResidualAt("mlp", 0, d, stream, *dense),
            ResidualAt("experts", 0, d, entered, *experts),
            Named("l_out", stream),
        )
