"""hy_v4: Tencent's HY 4, with several planes of the stream and latent attention.

As llama.cpp has it: with `attention.indexer.top_k` queries read positions that an indexer chose, in the layers that the
file names with one of their own, in the others with that of the layer before; only routed experts have limits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from ggufjac.errors import UserError
from ggufjac.families.bases.hyperconnected import HyperConnected
from ggufjac.families.bases.limited import Limited, clamped_silu
from ggufjac.families.deepseek32 import DeepSeek32
from ggufjac.families.parts import Copies, Named, Part, Rope, Sequential
from ggufjac.families.parts.activations import Ratio
from ggufjac.families.parts.hyper import HyperResidual, Merge, NamedPlanes, Weights
from ggufjac.families.parts.indexer import Indexer
from ggufjac.families.parts.latent import LatentAttention


class HyV4(DeepSeek32, Limited, HyperConnected):
    """HY 4: planes of the stream that every block reads and writes with weights of the position's own
    (hyper-connections), latent attention with sinks and sigmoid gates, perhaps on positions that an indexer chose,
    leading dense layers, then shared experts and routed ones with a selection bias and limits."""

    architectures = ("hy_v4",)
    indexer_pairing = "adjacent"
    gate_of_experts: ClassVar[Callable[[float], Ratio]] = clamped_silu

    def layer(self, i: int) -> Part:
        b, n = f"blk.{i}.", self.planes
        attn_norm = Named("attn_norm", self.norm(b + "attn_norm", self.d))
        ffn_norm = Named("ffn_norm", self.norm(b + "ffn_norm", self.d))
        read, gains = self.connection(b + "hc_attn")
        attention = HyperResidual("attn", read, gains, attn_norm, Named("attn_out", self.latent_attention(i)))
        read, gains = self.connection(b + "hc_ffn")
        mlp = HyperResidual("mlp", read, gains, ffn_norm, Named("ffn_out", self.mlp(i)))
        return Sequential(
            *([Copies(n)] if i == 0 else []),
            NamedPlanes("hc_attn_out", n, attention),
            NamedPlanes("l_out", n, mlp),
        )

    # --- the planes -------------------------------------------------------------------------------------------

    def connection(self, name: str) -> tuple[Merge, Weights]:
        """With which weights a block reads the planes, and with which it writes to them."""
        source, n = self.source, self.planes
        whole = self.linear(f"{name}_fn", 2 * n, n * self.d)
        scales, base = source.vector(f"{name}_scale.weight", 2).tolist(), source.vector(f"{name}_base.weight", 2 * n)
        eps, magnitude = source.number("hyper_connection.epsilon"), source.number("hyper_connection.magnitude")
        norm = self.plain_norm()
        read = Weights(norm, whole.rows(0, n), scales[0], base[:n], 1.0, eps)
        return Merge(read, self.d), Weights(norm, whole.rows(n, 2 * n), scales[1], base[n:], magnitude, eps)

    def final_norm(self) -> Part:
        return Sequential(self.merged_planes(), super().final_norm())

    # --- attention --------------------------------------------------------------------------------------------

    def latent_attention(self, i: int) -> LatentAttention:
        b, n = f"blk.{i}.", self.n_head(i) * self.d_value(i)
        sinks = self.source.vector(b + "attn_sinks.weight", self.n_head(i))
        return replace(super().latent_attention(i), sinks=sinks, gate=self.linear(b + "attn_gate", n, self.d))

    def has_indexer(self, i: int) -> bool | None:
        if self.source.integer("attention.indexer.top_k", 0) == 0:
            return None
        owns = self.named_indexer(i) or False
        if i == 0 and not owns:
            raise UserError(f"{self.source.file.path}: the indexer of layer 0 is missing (attention.indexer.types)")
        return owns

    def indexer(self, i: int) -> Indexer:
        plain = super().indexer(i)
        offset = self.source.count("attention.indexer.key_length") - self.n_rot(i)
        return replace(plain, rope=replace(plain.rope, offset=offset))

    @property
    def indexer_eps(self) -> float:
        return self.source.number("attention.layer_norm_rms_epsilon")

    def rope(self, i: int) -> Rope | None:
        return self.latent_rope(i)

    @property
    def log_multiplier(self) -> float:
        return 0.0

    def sharpness(self, i: int) -> float:
        return 1.0

    def limit(self, key: str, i: int) -> float:
        return super().limit(key, i) if key == "swiglu_clamp_exp" else 0.0
