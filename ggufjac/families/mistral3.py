"""mistral3: Ministral 3 and Mistral Small/Medium 3.x in the files that llama.cpp's converter calls so."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from ggufjac.families.llama import Llama
from ggufjac.families.parts import Attention, Rope, Temperature, Yarn


class Mistral3(Llama):
    """Ministral 3, Mistral Small 3: llama with YaRN and, in long contexts, queries that grow with the position.

    A query at position p is multiplied by 1 + scale log(1 + floor(p / n_ctx_orig)).
    """

    architectures = ("mistral3",)

    def attention(self, i: int, *, norms: Literal["head", "whole"] | None = None) -> Attention:
        plain = super().attention(i, norms=norms)
        scale = self.source.number("attention.temperature_scale", 0.0)
        return replace(plain, temperature=Temperature(scale, self.n_ctx_orig)) if scale else plain

    def rope(self, i: int) -> Rope | None:
        number = self.source.number
        yarn = Yarn(
            self.n_ctx_orig,
            beta_fast=self.source.positive("rope.scaling.yarn_beta_fast", 32.0),
            beta_slow=self.source.positive("rope.scaling.yarn_beta_slow", 1.0),
        )
        log_multiplier = number("rope.scaling.yarn_log_multiplier", 0.0)
        return self.plain_rope(i, factors=self.rope_freqs(i), yarn=yarn, log_multiplier=log_multiplier)
