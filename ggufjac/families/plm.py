"""plm: PLM 1.8B."""

from __future__ import annotations

from ggufjac.families.deepseek2 import DeepSeek2
from ggufjac.families.parts import Part, PlainMLP, Temperature
from ggufjac.families.parts.activations import relu_squared


class PLM(DeepSeek2):
    """PLM 1.8B: latent attention (MLA) with queries straight from the state, a plain squared ReLU, embeddings as the
    head."""

    architectures = ("plm",)

    def layer(self, i: int) -> Part:
        b, n_ff = f"blk.{i}.", self.n_ff(i)
        mlp = PlainMLP(self.linear(b + "ffn_up", n_ff, self.d), self.linear(b + "ffn_down", self.d, n_ff), relu_squared)
        return self.block(i, self.latent_attention(i), mlp)

    def queries(self, i: int) -> Part:
        return self.linear(f"blk.{i}.attn_q", self.n_head(i) * self.d_key(i), self.d)

    @property
    def log_multiplier(self) -> float:
        return 0.0

    def sharpness(self, i: int) -> float:
        return 1.0

    def temperature(self) -> Temperature | None:
        return None
