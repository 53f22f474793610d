"""nemotron_h: Nemotron H and Nemotron Nano 2, whose layers are Mamba 2, attention or an MLP."""

from __future__ import annotations

from ggufjac.families.parts import Add, Named, Part, PlainMLP, RMSNorm, Rope
from ggufjac.families.parts.activations import relu_squared
from ggufjac.families.statespaces import StateSpaces


class NemotronH(StateSpaces):
    """Nemotron H, Nemotron Nano 2: every layer is one of Mamba 2, attention without positions, and an MLP with a
    squared ReLU."""

    architectures = ("nemotron_h",)

    def layer(self, i: int) -> Part:
        if self.n_ff(i):
            mixer: Part = Named("l_out", self._mlp(i))
        else:
            mixer = self.mamba2(i) if self.recurrent(i) else Named("attn_out", self.attention(i))
        norm = Named("attn_norm", self.norm(f"blk.{i}.attn_norm", self.d))
        name = "mlp" if self.n_ff(i) else "ssm" if self.recurrent(i) else "attn"
        return Named("nemotron_h_block_out", Add(name, norm, mixer))

    def norm(self, name: str, n: int) -> Part:
        return RMSNorm(self.source.vector(f"{name}.weight", n), self.rms_eps)

    def rope(self, i: int) -> Rope | None:
        return None

    @property
    def rms_eps(self) -> float:
        plain = self.source.number("attention.layer_norm_epsilon")
        return self.source.number("attention.layer_norm_rms_epsilon", plain)

    def _mlp(self, i: int) -> PlainMLP:
        b, n_ff = f"blk.{i}.", self.n_ff(i)
        up, down = self.linear(b + "ffn_up", n_ff, self.d), self.linear(b + "ffn_down", self.d, n_ff)
        return PlainMLP(up, down, relu_squared)
