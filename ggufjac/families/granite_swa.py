"""granite_swa: Granite with sliding windows and attention sinks.

Files that add the features of images inside of layers (`deepstack_mapping`) are refused.
"""

from __future__ import annotations

from dataclasses import replace

from ggufjac.errors import UserError
from ggufjac.families.granite import Granite
from ggufjac.families.parts import Part, Rope


class GraniteSWA(Granite):
    """Granite with sliding windows: Granite's multipliers, attention sinks, windows and RoPE in the layers that the
    file names; SwiGLU, or experts with an optional shared one."""

    architectures = ("granite_swa",)

    def layer(self, i: int) -> Part:
        if self.source.is_array("deepstack_mapping") and self.source.per_layer("deepstack_mapping", i) >= 0:
            raise UserError(f"{self.source.file.path}: images' features inside of layers are not known here")
        return super().layer(i)

    def mixer(self, i: int) -> Part:
        sinks = self.source.vector(f"blk.{i}.attn_sinks.weight", self.n_head(i))
        return replace(self.scaled_attention(i), sinks=sinks)

    def shared_expert(self, i: int, n_ff: int) -> Part:
        return self.fused_mlp(i, kind="_shexp", n_ff=n_ff)

    def window(self, i: int) -> int | None:
        return self.named_window(i)

    def rope(self, i: int) -> Rope | None:
        rotates = self.source.per_layer("attention.rope_pattern", i, 1)
        return self.plain_rope(i, factors=self.rope_freqs(i)) if rotates else None
