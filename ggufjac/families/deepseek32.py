"""deepseek32 and glm-dsa: DeepSeek V3.2, and GLM 5 to 5.2, whose queries read chosen positions alone.

As llama.cpp has it: YaRN's multiplier divides cosine and sine where it is not 1 (in V3.2 it is); in GLM the indexer
rotates adjacent entries and its norm has no epsilon; files with a context of 2^20 positions or more (GLM 5.2) have an
indexer in the first two layers and in every fourth one from the third on, and the other layers read what the one before
them chose, where the file does not name the layers itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from ggufjac.errors import UserError
from ggufjac.families.bases.mixture import Mixture
from ggufjac.families.deepseek2 import DeepSeek2
from ggufjac.families.parts import LayerNorm, Sequential
from ggufjac.families.parts.indexer import EarlierChoice, Indexer
from ggufjac.families.parts.latent import LatentAttention
from ggufjac.families.parts.moe import Gating

#: From this context length on a file is GLM 5.2's: its first layers have indexers of their own, and then every fourth.
LONG_CONTEXT, FIRST_LAYERS, PERIOD = 1 << 20, 2, 4


class DeepSeek32(DeepSeek2):
    """DeepSeek V3.2: DeepSeek V3 with sparse attention, a small indexer in every layer that chooses the positions that
    a query reads."""

    architectures = ("deepseek32",)
    #: How the indexer's rotation pairs entries.
    indexer_pairing: ClassVar[Literal["adjacent", "halves"]] = "halves"

    @property
    def indexer_eps(self) -> float:
        """The epsilon of the norm of its keys."""
        return 1e-6

    def latent_attention(self, i: int) -> LatentAttention:
        attention, owns = super().latent_attention(i), self.has_indexer(i)
        if owns is None:
            return attention
        if owns:
            return replace(attention, indexer=self.indexer(i))
        self.source.skip(f"blk.{i}.indexer.")  # some files have it where it is not used
        return replace(attention, indexer=EarlierChoice())

    def has_indexer(self, i: int) -> bool | None:
        """Whether layer i has an indexer of its own, or reads what the one before chose; None: it reads everything."""
        return True

    def named_indexer(self, i: int) -> bool | None:
        """Whether the file says that layer i has an indexer; None if it does not name the layers."""
        key = "attention.indexer.types"
        if self.source.has_key(key) and not self.source.is_array(key):
            raise UserError(f"{self.source.file.path}: the list of the layers with an indexer is missing ({key})")
        return bool(self.source.per_layer(key, i)) if self.source.has_key(key) else None

    def indexer(self, i: int) -> Indexer:
        source, b, rank = self.source, f"blk.{i}.", self.query_rank(i)
        n_head, n = source.count("attention.indexer.head_count"), source.count("attention.indexer.key_length")
        weight, bias = (source.vector(f"{b}indexer.k_norm.{end}", n) for end in ("weight", "bias"))
        keys, norm = self.linear(b + "indexer.attn_k", n, self.d), LayerNorm(weight, bias, self.indexer_eps)
        queries = self.linear(b + "indexer.attn_q_b", n_head * n, rank)
        return Indexer(
            q=Sequential(*self.latent_queries(i, rank), queries),
            k=Sequential(keys, norm),
            weights=self.linear(b + "indexer.proj", n_head, self.d),
            n_head=n_head,
            rope=replace(self.latent_rope(i), pairing=self.indexer_pairing, offset=0),
            top=source.count("attention.indexer.top_k"),
        )

    def query_rank(self, i: int) -> int:
        return self.source.count("attention.q_lora_rank")

    @property
    def multiplier_of_turns(self) -> float:
        return self.log_multiplier

    def temperature(self) -> None:
        return None

    def described_gating(self) -> Gating:
        return Mixture.described_gating(self)


class GlmDSA(DeepSeek32):
    """GLM 5, 5.1 and 5.2: latent attention of positions that an indexer chose, which in GLM 5.2 several layers share;
    leading dense layers, then shared and routed experts with a selection bias."""

    architectures = ("glm-dsa",)
    indexer_pairing = "adjacent"
    gating = "sigmoid"

    @property
    def indexer_eps(self) -> float:
        return 0.0

    @property
    def log_multiplier(self) -> float:
        return 0.0

    def has_indexer(self, i: int) -> bool:
        named = self.named_indexer(i)
        if named is not None:
            return named
        return self.n_ctx_train < LONG_CONTEXT or i < FIRST_LAYERS or i % PERIOD == FIRST_LAYERS
