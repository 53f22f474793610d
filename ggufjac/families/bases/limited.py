"""Mixtures whose gated MLPs have limits that the file gives to every layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from ggufjac.families.bases.mixture import Mixture
from ggufjac.families.parts import Elementwise, Experts, GatedMLP, Part, Routing
from ggufjac.families.parts import Sequential as Chain
from ggufjac.families.parts.activations import Ratio, clamp, limited_silu, oai_swish, silu

#: llama.cpp takes smaller limits for none.
SMALLEST_LIMIT = 1e-6


def clamped_silu(limit: float) -> Ratio:
    """f(u) = silu(min(u, limit))."""
    return oai_swish(1.0, limit)


class Limited(Mixture):
    """up stays within +-limit, and what the gate gives below it, layer by layer; shared experts and dense MLPs have a
    limit of their own."""

    #: From a limit to what is done to the gate of dense MLPs and shared experts, and to that of routed ones.
    gate_of_dense: ClassVar[Callable[[float], Ratio]] = limited_silu
    gate_of_experts: ClassVar[Callable[[float], Ratio]] = limited_silu

    def limit(self, key: str, i: int) -> float:
        """The limit of layer i, 0 where it has none."""
        if not self.source.has_key(key):
            return 0.0
        limit = self.source.number_of_layer(f"{self.source.architecture}.{key}", i)
        return limit if limit > SMALLEST_LIMIT else 0.0

    def gated_mlp(self, i: int, ratio: Ratio = silu, *, kind: str = "", n_ff: int | None = None) -> GatedMLP:
        plain, limit = super().gated_mlp(i, ratio, kind=kind, n_ff=n_ff), self.limit("swiglu_clamp_shexp", i)
        if not limit:
            return plain
        up = Chain(plain.up, Elementwise(clamp(limit)))
        return GatedMLP(plain.gate, up, plain.down, type(self).gate_of_dense(limit))

    def experts(
        self, i: int, routing: Routing, n_ff: int, ratio: Ratio = silu, after_up: Sequence[Part] = ()
    ) -> Experts:
        limit = self.limit("swiglu_clamp_exp", i)
        if limit:
            ratio, after_up = type(self).gate_of_experts(limit), [*after_up, Elementwise(clamp(limit))]
        return super().experts(i, routing, n_ff, ratio, after_up)
