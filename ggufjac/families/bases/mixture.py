"""Mixtures built as DeepSeek built the first of them: leading dense layers, routed experts beside shared ones."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from ggufjac.errors import UserError
from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Parallel, Part, Routing
from ggufjac.families.parts.moe import Gating

#: What the numbers of `expert_gating_func` stand for.
GATINGS: dict[int, Gating] = {1: "softmax", 2: "sigmoid", 3: "softmax of chosen", 4: "sqrt of softplus"}


class Mixture(Family):
    """The file says how many layers are dense, how the router's logits become weights, and how large the shared
    experts are."""

    #: The gating of a file that does not name one; None: it must.
    gating: ClassVar[Gating | None] = None

    def mlp(self, i: int) -> Part:
        """The MLP of layer i: dense in the leading layers, then a mixture."""
        if i < self.source.integer("leading_dense_block_count", 0):
            return self.gated_mlp(i)
        n_ff, shared = self.n_ff_expert(i), self.n_ff_shared(i)
        experts = self.experts(i, self.described_routing(i), n_ff)
        return Parallel(experts, self.gated_mlp(i, kind="_shexp", n_ff=shared)) if shared else experts

    def n_ff_shared(self, i: int) -> int:
        """Hidden entries of all shared experts of layer i together."""
        return self.n_ff_expert(i) * self.source.integer("expert_shared_count")

    def described_routing(self, i: int) -> Routing:
        """The routing of layer i with the gating, normalisation, scale and selection bias that the file gives."""
        return replace(
            self.routing(i),
            gating=self.described_gating(),
            normalised=self.source.flag("expert_weights_norm", False),
            scale=self.source.number("expert_weights_scale", 0.0) or 1.0,
            selection_bias=self.selection_bias(i),
        )

    def selection_bias(self, i: int) -> Tensor | None:
        """What is added to the scores of the experts for the choice alone."""
        return self.source.optional_vector(f"blk.{i}.exp_probs_b.bias", self.n_expert)

    def described_gating(self) -> Gating:
        number = self.source.integer("expert_gating_func", 0)
        gating = self.gating if number == 0 else GATINGS.get(number)
        if gating is None:
            known = ", ".join(f"{n} ({name})" for n, name in GATINGS.items())
            raise UserError(f"{self.source.file.path}: expert_gating_func is {number}; known are {known}")
        return gating
