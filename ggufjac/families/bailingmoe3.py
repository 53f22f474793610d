"""bailingmoe3: inclusionAI's Ling 3 and Ring 3.

As llama.cpp has it: layers without key/value heads have Kimi delta attention, whose decays are bounded from below.
Files whose RoPE has sections (those of the models that see) are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from ggufjac.errors import UserError
from ggufjac.families.bases.limited import Limited
from ggufjac.families.kimi_linear import KimiLinear
from ggufjac.families.parts import Linear, Part, Rope, Routing, per_head
from ggufjac.families.parts.latent import LatentAttention


@dataclass(frozen=True)
class BoundedDecay:
    """log w = bound sigmoid(a u) with a negative bound, and a number a for each head: a [n_head, 1]."""

    a: Tensor
    bound: float

    def __call__(self, u: Tensor) -> Tensor:
        return self.bound * (self.a.to(u) * u).sigmoid()


class BailingMoE3(KimiLinear, Limited):
    """Ling 3 and Ring 3: Kimi delta attention with bounded decays in most layers, latent attention with RoPE and a
    sigmoid gate per head in the others, leading dense layers, then shared experts and grouped routing with a selection
    bias; perhaps limits on what gates and ups give."""

    architectures = ("bailingmoe3",)

    def latent_attention(self, i: int) -> LatentAttention:
        attention, n_head = super().latent_attention(i), self.n_head(i)
        gate = per_head(self.linear(f"blk.{i}.attn_gate", n_head, self.d), n_head, self.d_value(i))
        return replace(attention, gate=gate)

    def decay(self, i: int, n: int, d: int) -> Part:
        b = f"blk.{i}."
        return Linear(self.source.matrix(b + "ssm_f_a.weight", n, self.d), self.source.vector(b + "ssm_dt.bias", n))

    def log_decay(self, i: int, n_head: int) -> Callable[[Tensor], Tensor]:
        bound = self.source.number("kda.gate_lower_bound")
        if bound >= 0 or not self.source.flag("kda.safe_gate", True):
            raise UserError(f"{self.source.file.path}: decays without a negative kda.gate_lower_bound are not known")
        return BoundedDecay(self.source.table(f"blk.{i}.ssm_a", n_head, 1), bound)

    def output_gate(self, i: int, n: int, d: int) -> Part:
        return self.linear(f"blk.{i}.ssm_g_a", n, self.d)

    def query_rank(self, i: int) -> int:
        return self.source.integer("attention.q_lora_rank", 0)

    def rope(self, i: int) -> Rope | None:
        key = "rope.dimension_sections"
        if self.source.is_array(key) and any(self.source.per_layer(key, k, 0) for k in range(4)):
            raise UserError(f"{self.source.file.path}: sections of RoPE are not known in {self.source.architecture}")
        return self.plain_rope(i, offset=self.d_key(i) - self.n_rot(i))

    def n_ff_shared(self, i: int) -> int:
        return self.source.integer("expert_shared_feed_forward_length", 0) or super().n_ff_shared(i)

    def described_routing(self, i: int) -> Routing:
        return replace(super().described_routing(i), normalised=self.source.flag("expert_weights_norm", False))
