"""cohere2moe: Cohere 2 with experts.

The file decides between LayerNorm and RMSNorm by the key of the norm's epsilon that it has. As llama.cpp has it:
leading dense layers rotate even where they see everything, and local layers with the base of all (`rope.freq_base_swa`
is read and not used).
"""

from __future__ import annotations

from ggufjac.families.bases.mixture import Mixture
from ggufjac.families.parts import LayerNorm, Parallel, Part, RMSNorm, Rope, Scale, Sequential

#: One layer in four sees everything, the first one.
PERIOD = 4


class Cohere2MoE(Mixture):
    """Cohere 2 with experts: attention and MLP side by side behind one norm, a sliding window and RoPE in three of four
    layers, leading dense layers, then the mean of a shared expert and routed ones."""

    architectures = ("cohere2moe",)
    pairing = "adjacent"
    gating = "sigmoid"

    def layer(self, i: int) -> Part:
        return self.parallel_block(i, self.attention(i), self.mlp(i))

    def mlp(self, i: int) -> Part:
        both = super().mlp(i)
        return Sequential(both, Scale(0.5)) if isinstance(both, Parallel) else both

    def n_ff_shared(self, i: int) -> int:
        count = self.source.integer("expert_shared_count", 0)
        return count and (self.source.integer("expert_shared_feed_forward_length", 0) or self.n_ff_expert(i) * count)

    def norm(self, name: str, n: int) -> Part:
        eps = self.source.number("attention.layer_norm_rms_epsilon", 0.0)
        weight = self.source.vector(f"{name}.weight", n)
        if eps:
            return RMSNorm(weight, eps)
        return LayerNorm(weight, None, self.source.number("attention.layer_norm_epsilon"))

    def window(self, i: int) -> int | None:
        return self.local_window(i, PERIOD, global_first=True)

    def rope(self, i: int) -> Rope | None:
        dense = i < self.source.integer("leading_dense_block_count")
        return self.plain_rope(i) if dense or self.window(i) is not None else None

    def output_head(self) -> Part:
        scale = self.source.number("logit_scale")
        return Sequential(self.head_matrix(), Scale(scale)) if scale else Sequential(self.head_matrix())
