"""rwkv7, arwkv7: RWKV 7, alone and with the MLPs of Qwen 2.

The values of the first layer are read again by all others, so layers hand on two lanes: the hidden state, and they.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ggufjac.families.bases.layernorm import LayerNormFamily
from ggufjac.families.bases.wkv import WKV
from ggufjac.families.parts import Append, Named, NamedSlice, Part, PlainMLP, ResidualAt, Sequential, Slice
from ggufjac.families.parts.activations import relu_squared
from ggufjac.families.parts.tokenshift import LowRank, Squash, TokenShift
from ggufjac.families.parts.wkv import TimeMix7, ValueResidual


class SecondLane(WKV):
    """A family of RWKV 7's time mixing; a subclass gives what follows it."""

    def final_norm(self) -> Part:
        return Sequential(Slice(0, self.d), super().final_norm())

    def first_values(self, *before: Part) -> list[Part]:
        """What opens the second lane in layer 0; before: the parts between the embeddings and that layer."""
        return [*before, Append(self.mix_norm(0), self.values(0))]

    def write(self, name: str, *parts: Part) -> Part:
        """The first lane and what `parts` make of the state."""
        return ResidualAt(name, 0, self.d, *parts)

    def named(self, name: str, part: Part) -> Part:
        """A part whose first lane llama.cpp knows by a name."""
        return NamedSlice(name, 0, self.d, part)

    def mix_norm(self, i: int) -> Part:
        return Named("attn_norm", self.norm(f"blk.{i}.attn_norm", self.d))

    def values(self, i: int) -> Part:
        return self.shifted(i, self.seven_shifts(i)["v"], "time_mix_value", self.d)

    def gated(self, i: int) -> bool:
        return self.source.has(f"blk.{i}.time_mix_g1.weight")

    def seven_shifts(self, i: int) -> dict[str, Tensor]:
        """The shifts of layer i by what they serve."""
        kinds = "rwkvag" if self.gated(i) else "rwkva"
        return dict(zip(kinds, self.shifts(i, len(kinds)), strict=True))

    def time_mix(self, i: int) -> Part:
        """The time mixing of layer i, from the two lanes."""
        source, b, d = self.source, f"blk.{i}.", self.d
        m = self.seven_shifts(i)
        if i == 0:  # the file has them, and they serve nothing
            for name in ("v0", "v1", "v2"):
                source.skip(f"{b}time_mix_{name}.")
        return TimeMix7(
            norm=Sequential(Slice(0, d), self.mix_norm(i)),
            first=Slice(d, 2 * d),
            own=None if i == 0 else ValueResidual(self.values(i), self.network(i, "v", m["v"])),
            r=self.shifted(i, m["r"], "time_mix_receptance", d),
            k=self.shifted(i, m["k"], "time_mix_key", d),
            decay=self.network(i, "w", m["w"]),
            rate=self.network(i, "a", m["a"]),
            gate=self.network(i, "g", m["g"]) if self.gated(i) else None,
            k_k=source.vector(b + "time_mix_k_k.weight", d),
            k_a=source.vector(b + "time_mix_k_a.weight", d),
            r_k=source.vector(b + "time_mix_r_k.weight", d),
            head_norm=self.group_norm(i) if source.has(b + "time_mix_ln.weight") else None,
            out=self.linear(b + "time_mix_output", d, d),
            d_head=self.d_head,
        )

    def network(self, i: int, kind: str, m: Tensor) -> LowRank:
        """The small network of one kind: w (decays), a (rates), v (the value residual) or g (gates)."""
        f, rank = NETWORKS[kind]
        n = self.source.count(f"attention.{rank}_lora_rank")
        offset = None if kind == "g" else f"time_mix_{kind}0"
        return self.low_rank(i, m, f, n, (f"time_mix_{kind}1", f"time_mix_{kind}2", offset))


def _same(x: Tensor) -> Tensor:
    return x


#: What stands between the two matrices of each small network, and the key of their rank.
NETWORKS: dict[str, tuple[Squash, str]] = {
    "w": (torch.tanh, "decay"),
    "a": (_same, "iclr"),
    "v": (_same, "value_residual_mix"),
    "g": (torch.sigmoid, "gate"),
}


class RWKV7(SecondLane, LayerNormFamily):
    """RWKV 7 (Goose): a state that forgets and is corrected entry by entry, token shifts, the first layer's values in
    all others, a squared ReLU; no attention.

    The vectors that the map takes are the embeddings before their norm.
    """

    architectures = ("rwkv7",)

    def layer(self, i: int) -> Part:
        self.expect_shifts(2)
        b, n_ff = f"blk.{i}.", self.n_ff(0)
        start = self.first_values(self.norm("token_embd_norm", self.d)) if i == 0 else []
        mlp = PlainMLP(
            self.linear(b + "channel_mix_key", n_ff, self.d),
            self.linear(b + "channel_mix_value", self.d, n_ff),
            relu_squared,
        )
        shift = TokenShift(self.source.vector(b + "channel_mix_lerp_k.weight", self.d))
        ffn_norm = Named("ffn_norm", self.norm(b + "attn_norm_2", self.d))
        return Sequential(
            *start,
            self.named("ffn_inp", self.write("attn", self.time_mix(i))),
            self.named("l_out", self.write("mlp", Slice(0, self.d), ffn_norm, shift, mlp)),
        )


class ARWKV7(SecondLane):
    """ARWKV 7: Qwen 2 with RWKV 7's time mixing in place of attention; the first layer's values in all others,
    optional gates and head norms, SwiGLU."""

    architectures = ("arwkv7",)

    def layer(self, i: int) -> Part:
        self.expect_shifts(1)
        ffn_norm = Named("ffn_norm", self.norm(f"blk.{i}.ffn_norm", self.d))
        return Sequential(
            *(self.first_values() if i == 0 else []),
            self.named("ffn_inp", self.write("attn", self.time_mix(i))),
            self.named("l_out", self.write("mlp", Slice(0, self.d), ffn_norm, self.gated_mlp(i))),
        )
