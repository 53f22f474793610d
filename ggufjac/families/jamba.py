"""jamba: AI21's Jamba, whose layers are Mamba or attention.

What llama.cpp calls ffn_inp here is not the state before the MLP but what the mixer adds to it.
"""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.statespaces import StateSpaces
from ggufjac.families.parts import Named, Part, Residual, Rope, Sequential


class Jamba(StateSpaces):
    """Jamba: Mamba with normalised steps, keys and queries in most layers, attention without positions in the others;
    SwiGLU, or experts weighted by the softmax over all of them."""

    architectures = ("jamba",)

    def layer(self, i: int) -> Part:
        mixer = self.mamba1(i, self._norms(i)) if self.recurrent(i) else self.attention(i)
        attn_norm = Named("attn_norm", self.norm(f"blk.{i}.attn_norm", self.d))
        ffn_norm = Named("ffn_norm", self.norm(f"blk.{i}.ffn_norm", self.d))
        return Sequential(
            Residual("attn", attn_norm, Named("ffn_inp", mixer)),
            Named("l_out", Residual("mlp", ffn_norm, self._mlp(i))),
        )

    def rope(self, i: int) -> Rope | None:
        return None

    def _mlp(self, i: int) -> Part:
        if not self.source.has(f"blk.{i}.ffn_gate_inp.weight"):
            return self.gated_mlp(i)
        return self.experts(i, replace(self.routing(i), normalised=False), self.n_ff(i))

    def _norms(self, i: int) -> tuple[Part, Part, Part]:
        b, n_state = f"blk.{i}.", self.source.count("ssm.state_size")
        rank = self.source.count("ssm.time_step_rank")
        return (
            self.norm(b + "ssm_dt_norm", rank),
            self.norm(b + "ssm_b_norm", n_state),
            self.norm(b + "ssm_c_norm", n_state),
        )
