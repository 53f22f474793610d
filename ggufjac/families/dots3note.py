"""dots3note: rednote's dots.note, latent attention with windows or with positions that an indexer chose."""

from __future__ import annotations

from dataclasses import replace

from ggufjac.errors import UserError
from ggufjac.families.deepseek32 import DeepSeek32
from ggufjac.families.parts import Rope, Sequential, per_head
from ggufjac.families.parts.latent import LatentAttention


class Dots3Note(DeepSeek32):
    """dots.note: latent attention with normalised shared keys and a sigmoid gate per head; in the layers that the file
    names with a window, sizes and a RoPE base of their own, in the others on positions that an indexer chose; leading
    dense layers, then shared experts and routed ones with a selection bias."""

    architectures = ("dots3note",)

    def latent_attention(self, i: int) -> LatentAttention:
        b, n_head = f"blk.{i}.", self.n_head(i)
        attention = super().latent_attention(i)
        gate = per_head(self.linear(b + "attn_gate", n_head, self.d), n_head, self.d_value(i))
        shared = Sequential(attention.k, self.norm(b + "attn_k_norm", self.n_rot(i)))
        local = self.window(i) is not None
        return replace(attention, k=shared, gate=gate, indexer=None if local else attention.indexer)

    def has_indexer(self, i: int) -> bool:
        local = self.window(i) is not None
        if self.named_indexer(i) != (not local):
            raise UserError(f"{self.source.file.path}: layer {i} needs either a window or an indexer")
        return not local

    def window(self, i: int) -> int | None:
        return self.named_window(i)

    def rope(self, i: int) -> Rope | None:
        rope = self.latent_rope(i)
        return rope if self.window(i) is None else replace(rope, base=self.source.number("rope.freq_base_swa"))

    def sharpness(self, i: int) -> float:
        return 1.0

    @property
    def log_multiplier(self) -> float:
        return 0.0

    def rank(self, i: int) -> int:
        return self.source.count(self._of_kind("attention.kv_lora_rank", i))

    def d_key(self, i: int) -> int:
        return self.source.count(self._of_kind("attention.key_length_mla", i))

    def d_value(self, i: int) -> int:
        return self.source.count(self._of_kind("attention.value_length_mla", i))

    def _of_kind(self, key: str, i: int) -> str:
        """The key for layers of the kind of layer i."""
        return key if self.window(i) is None else f"{key}_swa"
