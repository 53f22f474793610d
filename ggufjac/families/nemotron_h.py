"""nemotron_h, nemotron_h_moe: Nemotron H, Nano 2 and 3, whose layers are Mamba 2, attention or an MLP.

llama.cpp calls l_out what an MLP adds to the state, and the state itself nemotron_h_block_out. Files whose experts see
a shorter, latent state are refused.
"""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.statespaces import StateSpaces
from ggufjac.families.parts import Experts, Named, Parallel, Part, PlainMLP, Residual, RMSNorm, Rope
from ggufjac.families.parts.activations import relu_squared


class NemotronH(StateSpaces):
    """Nemotron H, Nemotron Nano 2 and 3: every layer is one of Mamba 2, attention without positions, and an MLP with a
    squared ReLU or a mixture of such MLPs."""

    architectures = ("nemotron_h", "nemotron_h_moe")

    def layer(self, i: int) -> Part:
        if self.n_ff(i):
            mixer: Part = Named("l_out", self._mixture(i) if self.n_expert else self._mlp(i, "", self.n_ff(i)))
        else:
            mixer = self.mamba2(i) if self.recurrent(i) else Named("attn_out", self.attention(i))
        norm = Named("attn_norm", self.norm(f"blk.{i}.attn_norm", self.d))
        name = "mlp" if self.n_ff(i) else "ssm" if self.recurrent(i) else "attn"
        return Named("nemotron_h_block_out", Residual(name, norm, mixer))

    def norm(self, name: str, n: int) -> Part:
        return RMSNorm(self.source.vector(f"{name}.weight", n), self.rms_eps)

    def rope(self, i: int) -> Rope | None:
        return None

    @property
    def rms_eps(self) -> float:
        plain = self.source.number("attention.layer_norm_epsilon")
        return self.source.number("attention.layer_norm_rms_epsilon", plain)

    def _mlp(self, i: int, kind: str, n_ff: int) -> PlainMLP:
        up = self.linear(f"blk.{i}.ffn_up{kind}", n_ff, self.d)
        return PlainMLP(up, self.linear(f"blk.{i}.ffn_down{kind}", self.d, n_ff), relu_squared)

    def _mixture(self, i: int) -> Part:
        b, d, n, n_ff = f"blk.{i}.", self.d, self.n_expert, self.n_ff_expert(i)
        up, down = self._stack(b + "ffn_up_exps", n, n_ff, d), self._stack(b + "ffn_down_exps", n, d, n_ff)
        routing = replace(
            self.routing(i),
            gating="sigmoid",
            normalised=self.source.flag("expert_weights_norm", False),
            scale=self.source.number("expert_weights_scale", 0.0) or 1.0,
            selection_bias=self.source.vector(b + "exp_probs_b.bias", n),
        )

        def expert(e: int) -> Part:
            return PlainMLP(up.rows(e * n_ff, (e + 1) * n_ff), down.rows(e * d, (e + 1) * d), relu_squared)

        shared = self._mlp(i, "_shexp", self.source.count("expert_shared_feed_forward_length"))
        return Parallel(Experts(self.linear(b + "ffn_gate_inp", n, d), routing, expert), shared)
