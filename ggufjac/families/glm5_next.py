"""glm5-next: GLM 5.3 Flash.

As llama.cpp has it: layers without key/value heads have Kimi delta attention; decays are bounded where the file gives a
bound; shared experts have the limits of the others where the file gives them none. Files in which
`attention.indexer.kpool_select_tail` is false are refused, since there the first positions read nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from ggufjac.errors import UserError
from ggufjac.families.bases.hyperconnected import HyperConnected
from ggufjac.families.bases.limited import Limited, clamped_silu
from ggufjac.families.kimi_k3 import decay_of
from ggufjac.families.kimi_linear import KimiLinear
from ggufjac.families.parts import LayerNorm, Named, Part, Routing, Sequential
from ggufjac.families.parts.activations import Ratio
from ggufjac.families.parts.hyper import MeanOfCopies
from ggufjac.families.parts.indexer import EarlierChoice, PooledIndexer
from ggufjac.families.parts.latent import LatentAttention


class Glm5Next(KimiLinear, Limited, HyperConnected):
    """GLM 5.3 Flash: four planes of the stream that every block reads, mixes and writes with weights of the position's
    own, Kimi delta attention in most layers, latent attention without positions on pools that an indexer chose in the
    others, leading dense layers, then shared experts and routed ones with a selection bias and limits."""

    architectures = ("glm5-next",)
    gating = "sigmoid"
    gate_of_dense: ClassVar[Callable[[float], Ratio]] = clamped_silu
    gate_of_experts: ClassVar[Callable[[float], Ratio]] = clamped_silu

    def layer(self, i: int) -> Part:
        mixer = self.delta_attention(i) if self.recurrent(i) else Named("attn_out", self.latent_attention(i))
        return self.mixing_block(i, mixer, self.mlp(i))

    def final_norm(self) -> Part:
        return Sequential(Named("hc_head", MeanOfCopies(self.planes, self.d)), super().final_norm())

    # --- attention --------------------------------------------------------------------------------------------

    @property
    def unit_eps(self) -> float:
        return 1e-6

    def log_decay(self, i: int, n_head: int) -> Callable[[Tensor], Tensor]:
        return decay_of(self.source, i, n_head)

    def latent_attention(self, i: int) -> LatentAttention:
        attention = super().latent_attention(i)
        if self.named_indexer(i) is not False:
            return replace(attention, indexer=self.indexer(i))
        self.source.skip(f"blk.{i}.indexer")  # some files have it where it is not used
        return replace(attention, indexer=EarlierChoice())

    def indexer(self, i: int) -> PooledIndexer:
        source, b, rank = self.source, f"blk.{i}.", self.query_rank(i)
        n_head, n = source.count("attention.indexer.head_count"), source.count("attention.indexer.key_length")
        pool, top = source.count("attention.indexer.kpool"), source.count("attention.indexer.top_k")
        if pool < 2 or top % pool or not source.flag("attention.indexer.kpool_select_tail", True):
            raise UserError(
                f"{source.file.path}: {top} positions cannot be chosen in pools of {pool} (attention.indexer)"
            )
        weight, bias = (source.vector(f"{b}indexer.k_norm.{end}", n) for end in ("weight", "bias"))
        norm = LayerNorm(weight, bias, source.number("attention.layer_norm_epsilon", 0.0))
        return PooledIndexer(
            q=Sequential(*self.latent_queries(i, rank), self.linear(b + "indexer.attn_q_b", n_head * n, rank)),
            k=Sequential(self.linear(b + "indexer.attn_k", n, self.d), norm),
            gate=self.linear(b + "indexer_compressor_gate", n, self.d),
            place=source.table(b + "indexer_compressor_ape.weight", pool, n),
            weights=self.linear(b + "indexer.proj", n_head, self.d),
            n_head=n_head,
            top=top,
        )

    def query_rank(self, i: int) -> int:
        return self.source.count("attention.q_lora_rank")

    def n_rot(self, i: int) -> int:
        if self.source.integer("rope.dimension_count"):
            raise UserError(f"{self.source.file.path}: {self.source.architecture} models have no positions")
        return 0

    # --- MLPs -------------------------------------------------------------------------------------------------

    def limit(self, key: str, i: int) -> float:
        return super().limit(key if self.source.has_key(key) else "swiglu_clamp_exp", i)

    def n_ff_shared(self, i: int) -> int:
        return self.n_ff_expert(i) * self.source.integer("expert_shared_count")

    def described_routing(self, i: int) -> Routing:
        return replace(super().described_routing(i), normalised=self.source.flag("expert_weights_norm", False))
