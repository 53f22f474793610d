"""mellum: JetBrains' Mellum 2."""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.parts import Rope
from ggufjac.families.qwen import Qwen3MoE

#: One layer in four sees everything.
PERIOD = 4


class Mellum(Qwen3MoE):
    """Mellum 2 (12B-A2.5B): Qwen 3 with experts, three of four layers with a sliding window, the others stretched.

    As llama.cpp has it, a local layer rotates with the base of the global ones, whatever rope.freq_base_swa says.
    """

    architectures = ("mellum",)

    def window(self, i: int) -> int | None:
        return self.local_window(i, PERIOD)

    def rope(self, i: int) -> Rope | None:
        stretched = self.plain_rope(i)
        local = self.window(i) is not None
        return replace(stretched, scale=1.0, magnitude=1.0, yarn=None) if local else stretched
