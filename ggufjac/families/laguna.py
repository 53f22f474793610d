"""laguna: poolside's Laguna."""

from __future__ import annotations

from dataclasses import replace

import torch.nn.functional as F

from ggufjac.families.bases.mixture import Mixture
from ggufjac.families.parts import Attention, Part, Rope, per_head

#: One layer in four sees everything, the first one.
PERIOD = 4


class Laguna(Mixture):
    """Laguna XS, S and M: attention whose output softplus gates, one per head or per entry, queries and keys normalised
    per head, YaRN in the global layers alone, leading dense layers, then a shared expert and experts chosen with a
    selection bias by their sigmoid."""

    architectures = ("laguna",)
    gating = "sigmoid"

    def layer(self, i: int) -> Part:
        return self.block(i, self.gated_attention(i), self.mlp(i))

    def gated_attention(self, i: int) -> Attention:
        attention = self.attention(i, norms="head")
        name, n_head, n = f"blk.{i}.attn_gate", self.n_head(i), self.d_value(i)
        info = self.source.file.tensors.get(f"{name}.weight")
        if info is not None and info.rows == n_head:
            gate = per_head(self.linear(name, n_head, self.d), n_head, n)
        else:
            gate = self.linear(name, n_head * n, self.d)
        return replace(attention, gate=gate, gating=F.softplus)

    def n_ff_shared(self, i: int) -> int:
        given = self.source.integer("expert_shared_feed_forward_length", 0)
        return given or self.n_ff_expert(i) * self.source.count("expert_shared_count", 1)

    def window(self, i: int) -> int | None:
        return self.local_window(i, PERIOD, global_first=True)

    def rope(self, i: int) -> Rope | None:
        if self.window(i) is None:
            return self.plain_rope(i)
        n_rot = self.source.count("rope.dimension_count_swa", self.source.count("rope.dimension_count", self.d_key(i)))
        local = self.plain_rope(i, base=self.local_base(), scale=1.0, n_rot=n_rot)
        return replace(local, yarn=None, magnitude=1.0)
