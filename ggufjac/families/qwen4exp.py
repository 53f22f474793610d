"""qwen4exp: Qwen 3.8 Flash Next, its text part.

As llama.cpp has it: a query reads as many positions as fit behind the widest tail, so that most queries read a block
more than the published model (transformers' modeling_qwen4_exp.py), which reads whole ones, and of it a part alone; the
fourth section of RoPE, where a file has one, rotates the keys of blocks by their position, but no query; without
`attention.compress_ratios` queries read all positions, and the indexers are not used.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from ggufjac.errors import UserError
from ggufjac.families.bases.hyperconnected import HyperConnected
from ggufjac.families.parts import Attention, Copies, GatedDeltaNet, Named, Part, Sequential
from ggufjac.families.parts.blocks import BlockIndexer
from ggufjac.families.parts.heads import HeadNorm
from ggufjac.families.parts.hyper import GatedMerge, HyperResidual, NamedPlanes, Weights
from ggufjac.families.parts.ngrams import NGrams, NGramWrite
from ggufjac.families.qwen3next import Qwen35MoE

#: The most positions of a block: llama.cpp marks those that are there in the bits of one number, and ends otherwise.
LONGEST_BLOCK = 64


class Qwen4Exp(Qwen35MoE, HyperConnected):
    """Qwen 3.8 Flash Next: planes of the stream with gates of low rank, to which one layer adds embeddings of n-grams,
    gated delta nets in three layers of four, attention with gated outputs on blocks that an indexer chose in the
    fourth, experts with a gated shared one; text alone."""

    architectures = ("qwen4exp",)

    def layer(self, i: int) -> Part:
        b, n = f"blk.{i}.", self.planes
        return Sequential(
            *([Copies(n)] if i == 0 else []),
            *([self.ngram_write(i)] if i in self.ngram_layers else []),
            NamedPlanes("hc_combine", n, self.connected("attn", b + "hc_attn", self.mixer(i))),
            NamedPlanes("l_last", n, self.connected("mlp", b + "hc_ffn", Named("ffn_out", self.mlp(i)))),
        )

    # --- the planes -------------------------------------------------------------------------------------------

    def connected(self, name: str, tensors: str, *parts: Part) -> HyperResidual:
        """What a block writes to the planes, read and written by the tensors of this name."""
        n = self.planes
        inject = self.linear(f"{tensors}_inject", n, n * self.d)
        gains = Weights(self.norm_of_planes(f"{tensors}_norm"), inject, 1 / n, torch.zeros(n), 2.0, 0.0)
        return HyperResidual(name, self.merge(tensors), gains, *parts)

    def merge(self, tensors: str) -> GatedMerge:
        n, rank = self.planes, self.source.count("hyper_connection.low_rank")
        down, up = self.linear(f"{tensors}_down", rank, n * self.d), self.linear(f"{tensors}_up", n * self.d, rank)
        return GatedMerge(self.norm_of_planes(f"{tensors}_norm"), down, up, n, self.d)

    def norm_of_planes(self, name: str) -> HeadNorm:
        """A norm of every plane alone."""
        weight = self.source.flat(f"{name}.weight", self.planes, self.d)
        return HeadNorm(self.planes, self.source.number("attention.layer_norm_rms_epsilon"), weight)

    def final_norm(self) -> Part:
        return self.merge("output_hc")

    # --- n-grams ----------------------------------------------------------------------------------------------

    @property
    def ngram_layers(self) -> list[int]:
        """The layer to which the embeddings of n-grams are added; none in a model without them."""
        key = "ple.layers"
        layers = self.source.integers(key) if self.source.has_key(key) else []
        if len(layers) > 1 or not all(i < self.n_layer and self.recurrent(i) for i in layers):
            raise UserError(
                f"{self.source.file.path}: n-grams are added to one layer with a delta net, not to {layers}"
            )
        return layers

    def ngram_write(self, i: int) -> NGramWrite:
        b, d, n, rows = f"blk.{i}.", self.d, self.planes, self.ngrams()
        m = len(rows.sizes) * rows.table.n_in
        return NGramWrite(
            ngrams=rows,
            key=self.linear(b + "ple_key", n * d, m),
            value_of=self.linear(b + "ple_value", d, m),
            norm_key=self.norm_of_planes(b + "ple_norm_key"),
            norm_query=self.norm_of_planes(b + "ple_norm_query"),
            norm_written=self.norm_of_planes(b + "ple_norm_conv"),
            kernel=self.source.table(b + "ple_conv1d.weight", n * d, self.source.count("ple.conv_kernel")),
            planes=n,
            step=len(rows.factors),
        )

    def ngrams(self) -> NGrams:
        """Which rows of the table stand for the n-grams of a text."""
        source, path = self.source, self.source.file.path
        longest = source.count("ple.ngram_size")
        n_rows = (longest - 1) * source.count("ple.heads_per_ngram")
        factors = source.integers("ple.layer_multipliers")[:longest]
        starts, sizes = (source.integers(f"ple.head_{name}")[:n_rows] for name in ("offsets", "vocab_sizes"))
        end = source.integer("ple.eos_token_id")
        whole = 2 <= longest == len(factors) and len(starts) == len(sizes) == n_rows
        if not whole or min(sizes) < 1 or min(*factors, *starts, end) < 0 or end >= self.n_vocab:
            raise UserError(f"{path}: the keys ple.* do not say {n_rows} rows for the n-grams of 2 to {longest} tokens")
        table = source.matrix_of_rows("per_layer_token_embd.weight", source.count("embedding_length_per_layer_input"))
        needed = max(start + size for start, size in zip(starts, sizes, strict=True))
        if table.n_out < needed:
            raise UserError(f"{path}: {table.name!r} has {table.n_out} rows, and the n-grams need {needed} (ple.*)")
        return NGrams(table, tuple(factors), tuple(starts), tuple(sizes), end)

    # --- attention and delta nets -----------------------------------------------------------------------------

    def gated_attention(self, i: int) -> Attention:
        attention, block = super().gated_attention(i), self.source.per_layer("attention.compress_ratios", i, 0)
        if block < 1:
            self.source.skip(f"blk.{i}.indexer.")
            return attention
        return replace(attention, indexer=self.indexer(i, block))

    def indexer(self, i: int, block: int) -> BlockIndexer:
        source, b, rope = self.source, f"blk.{i}.indexer.", self.rope(i)
        n_head, n = source.count("attention.indexer.head_count"), source.count("attention.indexer.key_length")
        if rope.n_rot > n:
            raise UserError(f"{source.file.path}: RoPE cannot rotate {rope.n_rot} of an indexer's {n} entries")
        if block > LONGEST_BLOCK:
            raise UserError(f"{source.file.path}: llama.cpp has no blocks of {block} positions; the longest has 64")
        return BlockIndexer(
            q=self.linear(b + "q_proj", n_head * n, self.d),
            k=self.linear(b + "k_proj", n, self.d),
            q_norm=self.norm(b + "q_norm", n),
            k_norm=self.norm(b + "k_norm", n),
            n_head=n_head,
            rope=rope,
            block_rope=self.plain_rope(i),
            block=block,
            top=source.count("attention.indexer.top_k"),
        )

    def delta_net(self, i: int) -> GatedDeltaNet:
        return replace(super().delta_net(i), gating=torch.sigmoid)
