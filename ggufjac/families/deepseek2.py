"""deepseek2, mistral4: DeepSeek V2, V2.5, V3, V3.1, R1, their Lite forms, Kimi K2, GLM 4.7 Flash, Mistral Large 3 and
others; Mistral Small 4.

Files come in two forms: older ones hold `attn_kv_b` as the models were trained, newer ones split it into `attn_k_b`
(stored transposed) and `attn_v_b`, so that llama.cpp can compare queries with latent vectors. The map is the same.

Where llama.cpp differs from the models' own definition: with groups of experts it ranks a group by the sum of its two
best scores also for V2, which takes the best one alone; and scores are multiplied by (1 + 0.1 ln factor)^2 also where
the file scales RoPE linearly.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from ggufjac.errors import UserError
from ggufjac.families.bases.mixture import Mixture
from ggufjac.families.parts import Linear, Part, Rope, Sequential, Temperature
from ggufjac.families.parts.elementary import Pick
from ggufjac.families.parts.latent import Absorbed, LatentAttention
from ggufjac.families.parts.moe import Gating

#: The Lite models project queries directly; llama.cpp knows them by their layers (and one vocabulary).
LITE_LAYERS, LITE_LAYERS_AND_VOCABULARY = (26, 27), (48, 128256)
#: GLM 4.7 Flash, whose older files do not name its gating.
GLM_LAYERS, GLM_VOCABULARY = (47, 48), 154880


class DeepSeek2(Mixture):
    """DeepSeek V2, V3 and R1, Kimi K2, GLM 4.7 Flash: latent attention (MLA) with YaRN, leading dense layers, then
    shared and routed experts with grouped routing, selection bias, softmax or sigmoid gating; Lite forms too."""

    architectures = ("deepseek2",)
    pairing = "adjacent"

    def layer(self, i: int) -> Part:
        return self.block(i, self.latent_attention(i), self.mlp(i))

    def latent_attention(self, i: int) -> LatentAttention:
        b, d, n_head = f"blk.{i}.", self.d, self.n_head(i)
        rank, d_key, d_value, n_rot = self.rank(i), self.d_key(i), self.d_value(i), self.n_rot(i)
        compressed = self.linear(b + "attn_kv_a_mqa", rank + n_rot, d)
        latent = Sequential(compressed.rows(0, rank), self.norm(b + "attn_kv_a_norm", rank))
        n_content = d_key - n_rot
        if self.split:
            keys = self.source.stack(b + "attn_k_b.weight", n_head, rank, n_content)
            apart = Linear(self.source.stack(b + "attn_v_b.weight", n_head, d_value, rank))
            values: Part = apart
            content: Part = Absorbed(keys, n_head)
        else:
            apart = None
            both = self.linear(b + "attn_kv_b", n_head * (n_content + d_value), rank)
            entries = torch.arange(n_head * (n_content + d_value)).unflatten(0, (n_head, -1))
            values = Sequential(both, Pick(entries[:, n_content:].flatten(), entries.numel()))
            content = Sequential(both, Pick(entries[:, :n_content].flatten(), entries.numel()))

        return LatentAttention(
            q=self.queries(i),
            k=compressed.rows(rank, rank + n_rot),
            v=Sequential(latent, values),
            out=self.linear(b + "attn_output", d, n_head * d_value),
            n_head=n_head,
            n_head_kv=n_head,
            scale=self.sharpness(i) / math.sqrt(d_key),
            rope=self.rope(i),
            window=self.window(i),
            temperature=self.temperature(),
            latent=latent,
            content=content,
            values=apart,
        )

    def queries(self, i: int) -> Part:
        b, n, rank = f"blk.{i}.", self.n_head(i) * self.d_key(i), self.query_rank(i)
        if rank == 0:
            return self.linear(b + "attn_q", n, self.d)
        return Sequential(*self.latent_queries(i, rank), self.linear(b + "attn_q_b", n, rank))

    def latent_queries(self, i: int, rank: int) -> tuple[Part, Part]:
        """From the normalised state to the latent vector [rank] that queries are made of."""
        b = f"blk.{i}."
        return self.linear(b + "attn_q_a", rank, self.d), self.norm(b + "attn_q_a_norm", rank)

    # --- sizes and positions ----------------------------------------------------------------------------------

    def rank(self, i: int) -> int:
        """Entries of the latent vector of layer i."""
        return self.source.count("attention.kv_lora_rank")

    def query_rank(self, i: int) -> int:
        """Entries of the latent vector that layer i makes queries of; 0 where it has none."""
        lite = self.n_layer in LITE_LAYERS or (self.n_layer, self.n_vocab) == LITE_LAYERS_AND_VOCABULARY
        return 0 if lite else self.source.integer("attention.q_lora_rank")

    def n_rot(self, i: int) -> int:
        """Entries of a key that all heads share, which are the rotated ones."""
        n_rot, d_key = self.source.count("rope.dimension_count", self.d_key(i)), self.d_key(i)
        if n_rot >= d_key:
            raise UserError(
                f"{self.source.file.path}: RoPE takes {n_rot} of {d_key} entries of a key; some must remain"
            )
        return n_rot

    @property
    def split(self) -> bool:
        """Whether the file has `attn_k_b` and `attn_v_b`; the other keys for the lengths then describe the latent."""
        return self.source.integer("attention.key_length_mla", 0) > 0

    def d_key(self, i: int) -> int:
        return self.source.count("attention.key_length_mla") if self.split else super().d_key(i)

    def d_value(self, i: int) -> int:
        return self.source.count("attention.value_length_mla") if self.split else super().d_value(i)

    def rope(self, i: int) -> Rope | None:
        return self.latent_rope(i)

    def latent_rope(self, i: int) -> Rope:
        """The rotation of the last entries of queries and keys."""
        n_content = self.d_key(i) - self.n_rot(i)
        return self.plain_rope(i, offset=n_content, log_multiplier=self.multiplier_of_turns)

    @property
    def log_multiplier(self) -> float:
        """YaRN's mscale_all_dim: the file holds a tenth of it; in float32 a tenth of 1 comes back as exactly 1."""
        key = np.float32(self.source.number("rope.scaling.yarn_log_multiplier", 0.0))
        return float(key / np.float32(0.1))

    @property
    def multiplier_of_turns(self) -> float:
        """What of it llama.cpp divides cosine and sine by: they stay as they are wherever it is given, since
        `sharpness` has it instead."""
        return 1.0 if self.log_multiplier else 0.0

    def sharpness(self, i: int) -> float:
        """What llama.cpp multiplies the scores of layer i by besides 1 / sqrt(d_key)."""
        rope = self.latent_rope(i)
        stretch = math.log(1 / rope.scale)
        magnitude = rope.magnitude * (1 if rope.yarn else 1 + 0.1 * stretch)
        return (magnitude * (1 + 0.1 * self.log_multiplier * stretch)) ** 2

    def temperature(self) -> Temperature | None:
        scale = self.source.number("attention.temperature_scale", 0.0)
        return Temperature(scale, self.source.count("attention.temperature_length")) if scale else None

    # --- experts ----------------------------------------------------------------------------------------------

    def described_gating(self) -> Gating:
        if self.source.integer("expert_gating_func", 0):
            return super().described_gating()
        return "sigmoid" if self.n_layer in GLM_LAYERS and self.n_vocab == GLM_VOCABULARY else "softmax"


class Mistral4(DeepSeek2):
    """Mistral Small 4 (119B-A6B): latent attention (MLA) with YaRN and, in long contexts, queries that grow with the
    position; shared and routed experts.

    As llama.cpp has it, cosine and sine are divided by 1 + 0.1 mscale_all_dim ln(factor), which the scores make up for.
    """

    architectures = ("mistral4",)

    @property
    def multiplier_of_turns(self) -> float:
        return self.log_multiplier
