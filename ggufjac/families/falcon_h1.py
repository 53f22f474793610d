"""falcon-h1: Falcon H1, whose layers have attention and Mamba 2 side by side.

The models' many multipliers are in the weights of a GGUF file. llama.cpp reads no other; it loads a bias of the
attention's output projection and leaves it out, so a file with one is refused here.
"""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.statespaces import StateSpaces
from ggufjac.families.parts import Linear, Named, Parallel, Part, Residual, RMSNorm, Sequential


class FalconH1(StateSpaces):
    """Falcon H1, 0.5B to 34B: in every layer attention with RoPE and Mamba 2 read the same norm and are added up; then
    SwiGLU."""

    architectures = ("falcon-h1",)

    def layer(self, i: int) -> Part:
        b = f"blk.{i}."
        out = Linear(self.source.matrix(b + "attn_output.weight", self.d, self.n_head(i) * self.d_value(i)))
        both = Parallel(Named("attn_out", replace(self.attention(i), out=out)), Named("ssm_out", self.mamba2(i)))
        attn_norm = Named("attn_norm", self.norm(b + "attn_norm", self.d))
        ffn_norm = Named("ffn_norm", RMSNorm(self.source.vector(b + "ffn_norm", self.d), self.rms_eps))
        return Sequential(
            Named("ffn_inp", Residual("attn", attn_norm, Named("layer_out", both))),
            Named("l_out", Residual("mlp", ffn_norm, self.gated_mlp(i))),
        )
