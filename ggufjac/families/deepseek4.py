"""deepseek4: DeepSeek V4, after llama.cpp's deepseek4.cpp, which follows DeepSeek's report and reference code.

Blocks of 4 positions are what the report calls compressed sparse attention, those of 128 heavily compressed attention.
As llama.cpp has it: YaRN never changes the length of what it rotates, whatever the file says of that, and stretches
only layers with blocks; shared experts have the limits of the others where the file gives them none; nothing is rounded
to the FP4 and FP8 that the published models were trained for. A file whose last blocks should guess later tokens and
have no tensors for that has ordinary blocks there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from ggufjac.errors import UserError
from ggufjac.families.bases.hyperconnected import HyperConnected
from ggufjac.families.bases.limited import Limited, clamped_silu
from ggufjac.families.bases.mixture import Mixture
from ggufjac.families.deepseek2 import DeepSeek2
from ggufjac.families.parts import Named, Parallel, Part, Rope, Routing, Sequential
from ggufjac.families.parts.activations import Ratio
from ggufjac.families.parts.compressed import CompressedAttention, CompressedIndexer
from ggufjac.families.parts.compressor import Compressor, KeysAndBlocks
from ggufjac.families.parts.elementary import Grouped
from ggufjac.families.parts.moe import Gating, WithTokens

#: How many positions a block has, and how many lanes its compressor: the shorter blocks overlap.
LANES = {4: 2, 128: 1}
#: The length of the blocks that an indexer chooses.
INDEXED = 4
#: The planes of the stream.
PLANES = 4


class DeepSeek4(DeepSeek2, Limited, HyperConnected):
    """DeepSeek V4: four planes of the stream that every block reads, mixes and writes with weights of the position's
    own, one head of keys that are values too, seen within a window and beyond it as compressed blocks, outputs in
    groups of low rank, experts chosen by the token in the first layers and with a selection bias in the others."""

    architectures = ("deepseek4",)
    gate_of_dense: ClassVar[Callable[[float], Ratio]] = clamped_silu
    gate_of_experts: ClassVar[Callable[[float], Ratio]] = clamped_silu

    @property
    def predictors(self) -> int:
        n = super().predictors
        return n if self.source.has(f"blk.{self.source.count('block_count') - n}.nextn.eh_proj.weight") else 0

    def layer(self, i: int) -> Part:
        if i == 0:
            self.check_sizes()
        block = self.mixing_block(i, Named("attn_out", self.compressed_attention(i)), self.mlp(i), end="l_last")
        return WithTokens(block) if self.hashed(i) else block

    def final_norm(self) -> Part:
        return Sequential(self.merged_planes(), super().final_norm())

    # --- attention --------------------------------------------------------------------------------------------

    def compressed_attention(self, i: int) -> CompressedAttention:
        source, b, n_head, d_head = self.source, f"blk.{i}.", self.n_head(i), self.d_key(i)
        if self.n_head_kv(i) != 1 or self.d_value(i) != d_head:
            raise UserError(f"{source.file.path}: layer {i} must have one head of keys, which are the values too")
        rank, ratio, rope = self.query_rank(i), self.ratio(i), self.latent_rope(i)
        blocks = self.compressor(i, "attn_compressor", d_head) if ratio else None
        kv = Sequential(self.linear(b + "attn_kv", d_head, self.d), self.norm(b + "attn_kv_a_norm", d_head))
        keys = KeysAndBlocks(kv, rope, blocks)
        return CompressedAttention(
            q=Sequential(*self.latent_queries(i, rank), self.linear(b + "attn_q_b", n_head * d_head, rank)),
            k=keys,
            v=keys,
            out=self.grouped_output(i, n_head * d_head),
            n_head=n_head,
            n_head_kv=1,
            scale=1 / math.sqrt(d_head),
            rope=rope,
            window=source.count("attention.sliding_window"),
            q_norm=self.plain_norm(),
            sinks=source.vector(b + "attn_sinks.weight", n_head),
            blocks=blocks,
            block_indexer=self.block_indexer(i) if ratio == INDEXED else None,
        )

    def grouped_output(self, i: int, n: int) -> Part:
        """From what the heads read, in groups of heads with a matrix each, and from all groups to the stream."""
        source, b = self.source, f"blk.{i}."
        groups, rank = source.count("attention.output_group_count"), source.count("attention.output_lora_rank")
        if self.n_head(i) % groups:
            raise UserError(f"{source.file.path}: {self.n_head(i)} heads do not make {groups} groups")
        apart = self.linear(b + "attn_output_a", groups * rank, n // groups)
        return Sequential(Grouped(apart, groups), self.linear(b + "attn_output_b", self.d, groups * rank))

    def compressor(self, i: int, name: str, n: int) -> Compressor:
        """What makes blocks of layer i, vectors [n]; name: how its tensors begin."""
        b, ratio = f"blk.{i}.{name}", self.ratio(i)
        lanes = LANES[ratio]
        return Compressor(
            values=self.linear(f"{b}_kv", lanes * n, self.d),
            gate=self.linear(f"{b}_gate", lanes * n, self.d),
            place=self.source.table(f"{b}_ape.weight", ratio, lanes * n),
            lanes=lanes,
            norm=self.norm(f"{b}_norm", n),
            rope=replace(self.latent_rope(i), offset=n - self.n_rot(i)),
        )

    def block_indexer(self, i: int) -> CompressedIndexer:
        source, b, rank = self.source, f"blk.{i}.", self.query_rank(i)
        n_head, n = source.count("attention.indexer.head_count"), source.count("attention.indexer.key_length")
        return CompressedIndexer(
            q=Sequential(*self.latent_queries(i, rank), self.linear(b + "indexer.attn_q_b", n_head * n, rank)),
            blocks=self.compressor(i, "indexer_compressor", n),
            weights=self.linear(b + "indexer.proj", n_head, self.d),
            n_head=n_head,
            top=source.count("attention.indexer.top_k"),
        )

    def ratio(self, i: int) -> int:
        """How many positions a block of layer i has; 0: it has no blocks."""
        ratio = self.source.per_layer("attention.compress_ratios", i)
        if ratio and ratio not in LANES:
            known = ", ".join(map(str, LANES))
            raise UserError(f"{self.source.file.path}: layer {i} has blocks of {ratio} positions; known are {known}")
        return ratio

    def check_sizes(self) -> None:
        """Refuse what ends llama.cpp's process. It takes 4 planes for granted. And where no layer uses a cache whose
        keys are as long as the indexer's, it looks for a rotation of no entries and divides by 0."""
        source, unused = self.source, LANES.keys() - {self.ratio(i) for i in range(self.n_layer)}
        n = source.count("attention.indexer.key_length")
        if self.planes != PLANES:
            raise UserError(f"{source.file.path}: there are {self.planes} planes; llama.cpp knows {PLANES} alone")
        if INDEXED in unused or (unused and n == self.d_key(0)):
            told = " or ".join(map(str, sorted(unused)))
            raise UserError(f"{source.file.path}: no layer has blocks of {told} positions, which llama.cpp cannot run")
        if n < self.n_rot(0):
            raise UserError(f"{source.file.path}: RoPE cannot rotate {self.n_rot(0)} of {n} entries of the indexer")

    def query_rank(self, i: int) -> int:
        return self.source.count("attention.q_lora_rank")

    def latent_rope(self, i: int) -> Rope:
        offset, base = self.d_key(i) - self.n_rot(i), self.source.positive("attention.compress_rope_freq_base")
        if self.ratio(i):
            return replace(self.plain_rope(i, base=base, offset=offset), magnitude=1.0)
        return replace(self.plain_rope(i, scale=1.0, offset=offset), yarn=None, magnitude=1.0)

    # --- experts ----------------------------------------------------------------------------------------------

    def mlp(self, i: int) -> Part:
        experts = self.experts(i, self.described_routing(i), self.n_ff_expert(i))
        if self.hashed(i):
            experts = replace(experts, by_token=self.experts_of_tokens(i, experts.routing.used))
        return Parallel(experts, self.gated_mlp(i, kind="_shexp", n_ff=self.n_ff_shared(i)))

    def hashed(self, i: int) -> bool:
        """Whether the tokens choose the experts of layer i."""
        return i < self.source.integer("hash_layer_count")

    def experts_of_tokens(self, i: int, used: int) -> Tensor:
        """[n_vocab, used]: the experts that layer i has for each token."""
        table = self.source.integer_table(f"blk.{i}.ffn_gate_tid2eid.weight", self.n_vocab, used)
        if table.min() < 0 or table.max() >= self.n_expert:
            raise UserError(f"{self.source.file.path}: layer {i} has no such experts as it gives to some tokens")
        return table

    def described_routing(self, i: int) -> Routing:
        return replace(super().described_routing(i), normalised=self.source.flag("expert_weights_norm"))

    def selection_bias(self, i: int) -> Tensor | None:
        self.source.skip(f"blk.{i}.exp_probs_b_vl.")  # that of an image's positions
        return None if self.hashed(i) else self.source.vector(f"blk.{i}.exp_probs_b.bias", self.n_expert)

    def described_gating(self) -> Gating:
        gating = Mixture.described_gating(self)
        if gating != "sqrt of softplus":
            raise UserError(f"{self.source.file.path}: {self.source.architecture} models with a {gating} are not known")
        return gating

    def limit(self, key: str, i: int) -> float:
        of_experts, source = "swiglu_clamp_exp", self.source
        if not source.has_key(of_experts):
            raise UserError(f"{source.file.path}: the key '{source.architecture}.{of_experts}' is missing")
        return super().limit(key if source.has_key(key) else of_experts, i)
