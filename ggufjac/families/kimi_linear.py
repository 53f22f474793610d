"""kimi-linear: Kimi Linear 48B-A3B.

As llama.cpp has it: layers without key/value heads have Kimi delta attention; the weights of a token's experts are
always divided by their sum. Files that hold `attn_kv_b` in one piece, which current ones do not, are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor

from ggufjac.families.bases.mixture import Mixture
from ggufjac.families.deepseek2 import DeepSeek2
from ggufjac.families.parts import Linear, Named, Part, Rope, Routing, Sequential, ShortMemory
from ggufjac.families.parts.kda import KimiDeltaAttention
from ggufjac.families.parts.moe import Gating


@dataclass(frozen=True)
class SoftplusDecay:
    """log w = a softplus(u) with a negative number a for each head: a [n_head, 1]."""

    a: Tensor

    def __call__(self, u: Tensor) -> Tensor:
        return self.a.to(u) * F.softplus(u)


class KimiLinear(DeepSeek2):
    """Kimi Linear 48B-A3B: Kimi delta attention in most layers, latent attention without positions in the others, a
    leading dense layer, then shared experts and routed ones chosen with a selection bias."""

    architectures = ("kimi-linear",)

    def layer(self, i: int) -> Part:
        mixer = self.delta_attention(i) if self.recurrent(i) else Named("mla_out", self.latent_attention(i))
        return self.block(i, mixer, self.mlp(i))

    def recurrent(self, i: int) -> bool:
        """Whether layer i has delta attention."""
        return self.source.per_layer("attention.head_count_kv", i) == 0

    def delta_attention(self, i: int) -> Part:
        """Kimi delta attention of layer i."""
        source, b, n_head = self.source, f"blk.{i}.", self.n_head(0)
        d = source.count("kda.head_dim")
        n, n_conv = n_head * d, source.count("ssm.conv_kernel")
        q, k, v = self._qkv(i, n, n, n)
        of_q, of_k, of_v = (
            ShortMemory(source.table(f"{b}ssm_conv1d_{x}.weight", n, 1, n_conv).squeeze(1), None) for x in "qkv"
        )
        attention = KimiDeltaAttention(
            q=q,
            k=k,
            v=v,
            memories=(of_q, of_k, of_v),
            decay=self.decay(i, n, d),
            log_decay=self.log_decay(i, n_head),
            beta=self.linear(b + "ssm_beta", n_head, self.d),
            gate=self.output_gate(i, n, d),
            norm=source.vector(b + "ssm_norm.weight", d),
            out=self.linear(b + "attn_output", self.d, n),
            n_head=n_head,
            eps=source.number("attention.layer_norm_rms_epsilon"),
        )
        return Named("kda_out", attention)

    def decay(self, i: int, n: int, d: int) -> Part:
        """What the decays of layer i are made of, n = n_head d of them, with their bias."""
        b = f"blk.{i}."
        up = Linear(self.source.matrix(b + "ssm_f_b.weight", n, d), self.source.vector(b + "ssm_dt.bias", n))
        return Sequential(self.linear(b + "ssm_f_a", d, self.d), up)

    def log_decay(self, i: int, n_head: int) -> Callable[[Tensor], Tensor]:
        """From that to the logarithms of the decays."""
        return SoftplusDecay(self.source.table(f"blk.{i}.ssm_a", n_head, 1))

    def output_gate(self, i: int, n: int, d: int) -> Part:
        b = f"blk.{i}."
        return Sequential(self.linear(b + "ssm_g_a", d, self.d), self.linear(b + "ssm_g_b", n, d))

    # --- latent attention -------------------------------------------------------------------------------------

    def query_rank(self, i: int) -> int:
        return 0

    def rope(self, i: int) -> Rope | None:
        return None

    def sharpness(self, i: int) -> float:
        return 1.0

    def temperature(self) -> None:
        return None

    # --- experts ----------------------------------------------------------------------------------------------

    def n_ff_shared(self, i: int) -> int:
        return self.n_ff_expert(i) * max(1, self.source.integer("expert_shared_count"))

    def described_routing(self, i: int) -> Routing:
        return replace(super().described_routing(i), normalised=True)

    def described_gating(self) -> Gating:
        return Mixture.described_gating(self)
