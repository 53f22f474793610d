"""granite and granitemoe: Granite 3 and 4 without recurrent layers."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from ggufjac.errors import UserError
from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Attention, Parallel, Part, Rope, Scale, Sequential


class Granite(Family):
    """Granite 3 and 4, dense or with experts: llama with multipliers for embeddings, scores, residuals and logits;
    optional biases, an optional shared expert."""

    architectures: ClassVar[tuple[str, ...]] = ("granite", "granitemoe")
    pairing = "adjacent"

    @property
    def embedding_scale(self) -> float:
        return self.source.number("embedding_scale", 0.0) or 1.0

    @property
    def residual_scale(self) -> float:
        """What is multiplied with all that a layer writes; 0 for nothing."""
        return self.source.number("residual_scale", 0.0)

    def layer(self, i: int) -> Part:
        after = [Scale(self.residual_scale)] if self.residual_scale else []
        mlp = self.mixture(i) if self.n_expert else self.gated_mlp(i)
        return self.block(i, self.mixer(i), mlp, after_attention=after, after_mlp=after)

    def mixer(self, i: int) -> Part:
        """What mixes positions in layer i."""
        return self.scaled_attention(i)

    def scaled_attention(self, i: int) -> Attention:
        attention = self.attention(i)
        return replace(attention, scale=self.source.number("attention.scale", 0.0) or attention.scale)

    def mixture(self, i: int) -> Part:
        experts = self.experts(i, self.routing(i), self.n_ff(i))
        n_ff = self.source.integer("expert_shared_feed_forward_length", 0)
        return Parallel(experts, self.shared_expert(i, n_ff)) if n_ff else experts

    def shared_expert(self, i: int, n_ff: int) -> Part:
        return self.gated_mlp(i, kind="_shexp", n_ff=n_ff)

    def rope(self, i: int) -> Rope | None:
        # llama.cpp takes "finetuned: false" to mean that dense Granite has no positions; experts always have them
        rotates = self.source.architecture == "granitemoe" or self.source.flag("rope.scaling.finetuned", True)
        return self.plain_rope(i, factors=self.rope_freqs(i)) if rotates else None

    def output_head(self) -> Part:
        divisor = self.logit_divisor
        if divisor == 0.0:
            raise UserError(f"{self.source.file.path}: logits cannot be divided by a logit_scale of 0")
        return Sequential(self.head_matrix(), Scale(1 / divisor))

    @property
    def logit_divisor(self) -> float:
        return self.source.number("logit_scale")
