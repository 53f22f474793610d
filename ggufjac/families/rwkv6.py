"""rwkv6, rwkv6qwen2: RWKV 6, alone and with the MLPs of Qwen 2."""

from __future__ import annotations

import torch
from torch import Tensor

from ggufjac.families.bases.layernorm import LayerNormFamily
from ggufjac.families.bases.wkv import WKV
from ggufjac.families.parts import Linear, Named, Part, PlainMLP, Residual, Scale, Sequential
from ggufjac.families.parts.activations import relu_squared
from ggufjac.families.parts.tokenshift import LowRank, Receptive, TokenShift
from ggufjac.families.parts.wkv import TimeMix6

#: What token shifts serve, in the order of the file: decays, keys, values, receptances and gates.
KINDS = "wkvrg"


class AdaptiveShifts(WKV):
    """A family whose token shifts depend on the token."""

    def token_shifts(self, i: int) -> dict[str, LowRank]:
        """The shifts of layer i by what they serve: an offset and a small network, whose input is itself shifted."""
        source, b, d = self.source, f"blk.{i}.", self.d
        rank, n = source.count("time_mix_extra_dim"), len(KINDS)
        enter = TokenShift(source.vector(b + "time_mix_lerp_x.weight", d))
        first = self.linear(b + "time_mix_w1", n * rank, d)
        second = source.stack(b + "time_mix_w2.weight", n, d, rank)
        return {
            kind: LowRank(
                Sequential(enter, first.rows(j * rank, (j + 1) * rank)),
                torch.tanh,
                Linear(second.rows(j * d, (j + 1) * d), offset),
            )
            for j, (kind, offset) in enumerate(zip(KINDS, self.offsets(i), strict=True))
        }

    def offsets(self, i: int) -> list[Tensor]:
        """The offsets of layer i's shifts; early files have a tensor for each."""
        name = f"blk.{i}.time_mix_lerp_"
        if self.source.has(f"{name}fused.weight"):
            return self.shifts(i, len(KINDS))
        return [self.source.vector(f"{name}{kind}.weight", self.d) for kind in KINDS]

    def time_mix(self, i: int, n_head_kv: int, bonus: Tensor | None, norm: Part | None) -> Part:
        """The time mixing of layer i."""
        m, d, n_kv = self.token_shifts(i), self.d, n_head_kv * self.d_head
        names = ("time_mix_decay_w1", "time_mix_decay_w2", "time_mix_decay")
        return TimeMix6(
            r=self.shifted(i, m["r"], "time_mix_receptance", d),
            k=self.shifted(i, m["k"], "time_mix_key", n_kv),
            v=self.shifted(i, m["v"], "time_mix_value", n_kv),
            decay=self.low_rank(i, m["w"], torch.tanh, self.source.count("time_decay_extra_dim"), names),
            gate=self.shifted(i, m["g"], "time_mix_gate", d),
            bonus=bonus,
            norm=norm,
            out=self.linear(f"blk.{i}.time_mix_output", d, d),
            d_head=self.d_head,
        )


class RWKV6(AdaptiveShifts, LayerNormFamily):
    """RWKV 6 (Finch): a state that decays entry by entry, token shifts that depend on the token, a gated squared ReLU
    whose gate looks at the token before; no attention.

    The vectors that the map takes are the embeddings before their norm. Every so many layers the hidden state is
    halved, for which the files' weights are made.
    """

    architectures = ("rwkv6",)

    def layer(self, i: int) -> Part:
        self.expect_shifts(2)
        n_head = self.d // self.d_head
        bonus = self.source.table(f"blk.{i}.time_mix_first.weight", n_head, self.d_head)
        ffn_norm = Named("ffn_norm", self.norm(f"blk.{i}.attn_norm_2", self.d))
        attn_norm = Named("attn_norm", self.norm(f"blk.{i}.attn_norm", self.d))
        mix = self.time_mix(i, n_head, bonus, self.group_norm(i))
        every = self.source.integer("rescale_every_n_layers", 0)
        return Sequential(
            *([self.norm("token_embd_norm", self.d)] if i == 0 else []),
            Named("ffn_inp", Residual("attn", attn_norm, mix)),
            Named(
                "l_out",
                Sequential(
                    Residual("mlp", ffn_norm, self.channel_mix(i)),
                    *([Scale(0.5)] if every > 0 and (i + 1) % every == 0 else []),
                ),
            ),
        )

    def channel_mix(self, i: int) -> Part:
        b, n_ff = f"blk.{i}.channel_mix_", self.n_ff(0)
        to_k, to_r = (TokenShift(self.source.vector(f"{b}lerp_{kind}.weight", self.d)) for kind in "kr")
        mlp = PlainMLP(self.linear(b + "key", n_ff, self.d), self.linear(b + "value", self.d, n_ff), relu_squared)
        return Receptive(Sequential(to_r, self.linear(b + "receptance", self.d, self.d)), Sequential(to_k, mlp))


class RWKV6Qwen2(AdaptiveShifts):
    """QRWKV 6: Qwen 2 or 2.5 with gated linear attention after RWKV 6 in place of attention, shared keys and values,
    SwiGLU."""

    architectures = ("rwkv6qwen2",)

    def layer(self, i: int) -> Part:
        self.expect_shifts(1)
        return self.block(i, self.time_mix(i, self.n_head_kv(i), None, None), self.gated_mlp(i))

    def n_head(self, i: int) -> int:
        return self.d // self.d_head

    def n_head_kv(self, i: int) -> int:
        return super().n_head_kv(i) if self.source.per_layer("attention.head_count_kv", i, 0) else self.n_head(i)
