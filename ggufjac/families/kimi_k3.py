"""kimi-k3: Kimi K3.

The state is (stream | states that were kept). Every `attn_res.block_size` layers what enters a layer is kept, and the
stream begins anew with what attention writes there; attention, MLP and head read a mean of all planes. As llama.cpp has
it: files that hold `attn_kv_b` in one piece are refused, as in Kimi Linear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ggufjac.families.kimi_linear import KimiLinear, SoftplusDecay
from ggufjac.families.parts import (
    Append,
    Elementwise,
    Experts,
    GatedMLP,
    Inside,
    Named,
    NamedSlice,
    Parallel,
    Part,
    ResidualAt,
    Routing,
    Scale,
    Sequential,
    Slice,
)
from ggufjac.families.parts.activations import Ratio, silu, softcap
from ggufjac.families.parts.checkpoints import MeanOfPlanes
from ggufjac.families.parts.latent import LatentAttention


def capped_silu(limit: float) -> Ratio:
    """f(u) = limit tanh(u / limit) sigmoid(u)."""
    cap = softcap(limit)

    def ratio(u: Tensor) -> Tensor:
        return cap(u) * torch.sigmoid(u)

    return ratio


@dataclass(frozen=True)
class LowerBoundDecay:
    """log w = bound sigmoid(-a u) with a negative bound, and a negative number a for each head: a [n_head, 1]."""

    a: Tensor
    bound: float

    def __call__(self, u: Tensor) -> Tensor:
        return self.bound * (-self.a.to(u) * u).sigmoid()


class KimiK3(KimiLinear):
    """Kimi K3: Kimi delta attention in most layers, gated latent attention without positions in the others, attention
    over the states of earlier layers, soft-capped SwiGLUs, experts on a shorter state chosen with a selection bias."""

    architectures = ("kimi-k3",)

    @property
    def period(self) -> int:
        """After how many layers a state is kept; 0: never."""
        return self.source.integer("attn_res.block_size")

    def layer(self, i: int) -> Part:
        b, d = f"blk.{i}.", self.d
        mixer = self.delta_attention(i) if self.recurrent(i) else Named("mla_out", self.latent_attention(i))
        attn_norm = Named("attn_norm", self.norm(b + "attn_norm", d))
        ffn_norm = Named("ffn_norm", self.norm(b + "ffn_norm", d))
        keeps = self.period > 0 and i % self.period == 0
        # where a state is kept the stream is empty, and attention reads what was kept alone
        keep = [Append(Slice(0, d)), Inside(0, d, Scale(0.0))] if keeps else []
        read = [Slice(d, None)] if keeps else []
        attention = ResidualAt("attn", 0, d, *read, *self.mean(b + "attn_res_score"), attn_norm, mixer)
        mlp = ResidualAt("mlp", 0, d, *self.mean(b + "ffn_res_score"), ffn_norm, self.mlp(i))
        return Sequential(*keep, NamedSlice("prefix_sum_attn", 0, d, attention), NamedSlice("l_out", 0, d, mlp))

    def mean(self, name: str) -> list[Part]:
        """From the state to what is read of it."""
        if self.period == 0:
            return []
        eps = self.source.number("attention.layer_norm_rms_epsilon")
        return [MeanOfPlanes(self.source.vector(f"{name}.weight", self.d), eps)]

    def final_norm(self) -> Part:
        return Sequential(*self.mean("output_res_score"), super().final_norm())

    @property
    def resumes(self) -> bool:
        return False

    # --- attention --------------------------------------------------------------------------------------------

    def latent_attention(self, i: int) -> LatentAttention:
        name, attention = f"blk.{i}.attn_gate", super().latent_attention(i)
        if not self.source.has(f"{name}.weight"):
            return attention
        return replace(attention, gate=self.linear(name, self.n_head(i) * self.d_value(i), self.d))

    def query_rank(self, i: int) -> int:
        has = self.source.has(f"blk.{i}.attn_q_a_norm.weight")
        return self.source.count("attention.q_lora_rank") if has else 0

    def log_decay(self, i: int, n_head: int) -> Callable[[Tensor], Tensor]:
        a = self.source.vector(f"blk.{i}.ssm_a", n_head)[:, None]
        if not self.source.has_key("kda.gate_lower_bound"):
            return SoftplusDecay(a)
        return LowerBoundDecay(a, self.source.number("kda.gate_lower_bound"))

    def output_gate(self, i: int, n: int, d: int) -> Part:
        return self.linear(f"blk.{i}.ssm_g", n, self.d)

    # --- MLPs -------------------------------------------------------------------------------------------------

    def gated_mlp(self, i: int, ratio: Ratio = silu, *, kind: str = "", n_ff: int | None = None) -> GatedMLP:
        plain = super().gated_mlp(i, kind=kind, n_ff=n_ff)
        return GatedMLP(plain.gate, Sequential(plain.up, *self.after_up()), plain.down, self.activation())

    def mlp(self, i: int) -> Part:
        if i < self.source.integer("leading_dense_block_count", 0):
            return self.gated_mlp(i)
        b, latent = f"blk.{i}.", self.source.integer("expert_latent_length", 0)
        parts: list[Part] = [self.latent_experts(i, latent or self.d)]
        if self.source.has(b + "ffn_routed_norm.weight"):
            parts.append(self.norm(b + "ffn_routed_norm", latent or self.d))
        if latent:
            parts.append(self.linear(b + "ffn_routed_up", self.d, latent))
        experts = Sequential(*parts)
        if not self.source.has(b + "ffn_gate_shexp.weight"):
            return experts
        return Parallel(experts, self.gated_mlp(i, kind="_shexp", n_ff=self.n_ff_shared(i)))

    def latent_experts(self, i: int, m: int) -> Experts:
        """Experts on states of m entries, which a projection makes of those that the router sees."""
        b, n, n_ff = f"blk.{i}.", self.n_expert, self.n_ff_expert(i)
        gate, up = self._stack(b + "ffn_gate_exps", n, n_ff, m), self._stack(b + "ffn_up_exps", n, n_ff, m)
        down = self._stack(b + "ffn_down_exps", n, m, n_ff)

        def expert(e: int) -> Part:
            gates, ups = (t.rows(e * n_ff, (e + 1) * n_ff) for t in (gate, up))
            return GatedMLP(gates, Sequential(ups, *self.after_up()), down.rows(e * m, (e + 1) * m), self.activation())

        before = self.linear(b + "ffn_routed_down", m, self.d) if m != self.d else None
        router = self.linear(b + "ffn_gate_inp", n, self.d)
        return Experts(router, self.described_routing(i), expert, before=before)

    def described_routing(self, i: int) -> Routing:
        return replace(super().described_routing(i), normalised=self.source.flag("expert_weights_norm", False))

    def activation(self) -> Ratio:
        return capped_silu(self.source.number("activation.situ_beta"))

    def after_up(self) -> list[Part]:
        limit = self.source.number("activation.situ_linear_beta")
        return [Elementwise(softcap(limit))] if limit > 0 else []
