"""qwen3next, qwen35, qwen35moe: Qwen models of gated delta nets and gated attention, their text part.

As llama.cpp has it, the heads of the values share keys differently: in qwen3next those of one key follow one another,
in qwen35 and qwen35moe (whose files are converted for it) they lie as far apart as there are keys.
"""

from __future__ import annotations

from typing import ClassVar

from ggufjac.errors import UserError
from ggufjac.families.bases.base import Family
from ggufjac.families.bases.sections import sectioned
from ggufjac.families.parts import (
    Attention,
    Gated,
    GatedDeltaNet,
    Linear,
    Named,
    Parallel,
    Part,
    Rope,
    ShortMemory,
    interleaved,
)

#: One layer in four has attention, where the file does not say otherwise.
PERIOD = 4


class Qwen3Next(Family):
    """Qwen3-Next, Qwen3-Coder-Next: gated delta nets in three layers of four, attention with gated outputs in the
    fourth; many experts with a gated shared one."""

    architectures = ("qwen3next",)
    tiled: ClassVar[bool] = False

    def layer(self, i: int) -> Part:
        norm = Named("attn_post_norm", self.norm(f"blk.{i}.post_attention_norm", self.d))
        return self.block(i, self.mixer(i), self.mlp(i), middle="attn_residual", ffn_norm=norm)

    def mixer(self, i: int) -> Part:
        """The delta net of layer i, or its attention."""
        if self.recurrent(i):
            return Named("linear_attn_out", self.delta_net(i))
        return Named("attn_output", self.gated_attention(i))

    def recurrent(self, i: int) -> bool:
        """Whether layer i has a delta net."""
        key = "attention.recurrent_layers"
        if self.source.is_array(key):
            return bool(self.source.per_layer(key, i))
        return (i + 1) % self.source.count("full_attention_interval", PERIOD) != 0

    def mlp(self, i: int) -> Part:
        """The experts and the shared one of layer i."""
        n_ff = self.source.integer("expert_shared_feed_forward_length", 0) or self.n_ff(i)
        gate = self.source.vector(f"blk.{i}.ffn_gate_inp_shexp.weight", self.d)
        shared = Gated(gate, self.gated_mlp(i, kind="_shexp", n_ff=n_ff))
        return Parallel(self.experts(i, self.routing(i), self.n_ff_expert(i)), shared)

    def gated_attention(self, i: int) -> Attention:
        """Attention whose output is multiplied by the sigmoid of a gate, which shares a matrix with the queries."""
        b, n_head, n_head_kv, n = f"blk.{i}.", self.n_head(i), self.n_head_kv(i), self.d_key(i)
        both, k, v = self._qkv(i, 2 * n_head * n, n_head_kv * n, n_head_kv * n)
        return Attention(
            q=interleaved(both, 0, n, 2 * n),
            k=k,
            v=v,
            out=self.linear(b + "attn_output", self.d, n_head * n),
            n_head=n_head,
            n_head_kv=n_head_kv,
            scale=n**-0.5,
            rope=self.rope(i),
            q_norm=self.norm(b + "attn_q_norm", n),
            k_norm=self.norm(b + "attn_k_norm", n),
            gate=interleaved(both, n, 2 * n, 2 * n),
        )

    def delta_net(self, i: int) -> GatedDeltaNet:
        """The gated delta net of layer i."""
        source, b = self.source, f"blk.{i}."
        d, n_head, n_key_head = (source.count(f"ssm.{key}") for key in ("state_size", "time_step_rank", "group_count"))
        if n_head % n_key_head or source.count("ssm.inner_size") != n_head * d:
            raise UserError(
                f"{source.file.path}: {n_head} heads of {d} values and {n_key_head} of keys do not fit together (ssm.*)"
            )
        n_all = (2 * n_key_head + n_head) * d
        qk, v, z = self.projections(i, d, n_head, n_key_head)
        alpha, beta = self.alpha_beta(i, n_head, n_key_head)
        return GatedDeltaNet(
            qk=qk,
            v=v,
            memory=ShortMemory(source.table(b + "ssm_conv1d.weight", n_all, source.count("ssm.conv_kernel")), None),
            z=z,
            alpha=alpha,
            beta=beta,
            a=source.vector(b + "ssm_a", n_head),
            # Ollama's files have the name without its ending
            dt_bias=source.vector(b + ("ssm_dt.bias" if source.has(b + "ssm_dt.bias") else "ssm_dt"), n_head),
            norm=source.vector(b + "ssm_norm.weight", d),
            out=self.linear(b + "ssm_out", self.d, n_head * d),
            n_key_head=n_key_head,
            d_head=d,
            eps=source.number("attention.layer_norm_rms_epsilon"),
            tiled=self.tiled,
        )

    def projections(self, i: int, d: int, n_head: int, n_key_head: int) -> tuple[Part, Part, Part]:
        """Queries and keys, values, and the gate; early files have them in one matrix, key head by key head."""
        b, n_key, n = f"blk.{i}.", n_key_head * d, n_head * d
        if self.source.has(b + "ssm_in.weight"):
            whole, share = self.linear(b + "ssm_in", 2 * n_key + 2 * n, self.d), n // n_key_head
            period, values = 2 * d + 2 * share, 2 * d + share
            return (
                interleaved(whole, 0, 2 * d, period, pieces=2),
                interleaved(whole, 2 * d, values, period),
                interleaved(whole, values, period, period),
            )
        qkv = self.linear(b + "attn_qkv", 2 * n_key + n, self.d)
        gate = self.linear(b + "attn_gate", n, self.d)
        return qkv.rows(0, 2 * n_key), qkv.rows(2 * n_key, 2 * n_key + n), gate

    def alpha_beta(self, i: int, n_head: int, n_key_head: int) -> tuple[Part, Part]:
        """What decays and update strengths are computed from: one matrix, beta and alpha of the heads of each key."""
        both, share = self.linear(f"blk.{i}.ssm_ba", 2 * n_head, self.d), n_head // n_key_head
        return interleaved(both, share, 2 * share, 2 * share), interleaved(both, 0, share, 2 * share)


class Qwen35(Qwen3Next):
    """Qwen3.5 and 3.6, dense: gated delta nets in three layers of four, attention with gated outputs in the fourth,
    SwiGLU; text alone."""

    architectures = ("qwen35",)
    tiled = True

    def mlp(self, i: int) -> Part:
        return self.gated_mlp(i)

    def alpha_beta(self, i: int, n_head: int, n_key_head: int) -> tuple[Part, Part]:
        b = f"blk.{i}."
        alpha: Linear = self.linear(b + "ssm_alpha", n_head, self.d)
        return alpha, self.linear(b + "ssm_beta", n_head, self.d)

    def rope(self, i: int) -> Rope:
        return sectioned(self.source, self.plain_rope(i), take_turns=True)


class Qwen35MoE(Qwen35):
    """Qwen3.5 and 3.6 with experts: gated delta nets in three layers of four, attention with gated outputs in the
    fourth, experts with a gated shared one; text alone."""

    architectures = ("qwen35moe",)

    def mlp(self, i: int) -> Part:
        return Qwen3Next.mlp(self, i)
