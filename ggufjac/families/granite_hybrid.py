"""granitehybrid: Granite 4.0 H, whose layers are Mamba 2 or attention."""

from __future__ import annotations

from ggufjac.families.bases.statespaces import StateSpaces
from ggufjac.families.granite import Granite
from ggufjac.families.parts import Part


class GraniteHybrid(Granite, StateSpaces):
    """Granite 4.0 H (Micro, Tiny, Small, 350M, 1B): Granite's multipliers and MLP or experts, with Mamba 2 in most
    layers and attention, usually without positions, in the others."""

    architectures = ("granitehybrid",)

    def mixer(self, i: int) -> Part:
        return self.mamba2(i) if self.recurrent(i) else super().mixer(i)

    @property
    def logit_divisor(self) -> float:
        return self.source.number("logit_scale", 0.0) or 1.0
