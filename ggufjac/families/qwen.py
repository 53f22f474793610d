"""qwen, qwen2, qwen2moe, qwen3, qwen3moe: the text models of Qwen 1, 1.5 MoE, 2, 2.5 and 3."""

from __future__ import annotations

from dataclasses import replace

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Gated, Parallel, Part


class Qwen2(Family):
    """Qwen 2 and 2.5, DeepSeek-R1-Distill-Qwen: pre-norm blocks, biases on q, k and v, SwiGLU.

    llama.cpp reads no sliding window for this architecture.
    """

    architectures = ("qwen2",)

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i), self.gated_mlp(i))


class Qwen(Qwen2):
    """Qwen 1 (7B, 14B, 72B) and the text part of Qwen-VL: pre-norm blocks, q, k and v in one matrix with biases,
    SwiGLU with half as many hidden entries as the file says."""

    architectures = ("qwen",)

    def n_ff(self, i: int) -> int:
        return super().n_ff(i) // 2


class Qwen2MoE(Family):
    """Qwen 1.5 and 2 with experts: biases on q, k and v, experts weighted by the softmax over all of them, and a shared
    expert behind a gate."""

    architectures = ("qwen2moe",)

    def layer(self, i: int) -> Part:
        experts = self.experts(i, replace(self.routing(i), normalised=False), self.n_ff_expert(i))
        n_ff = self.source.integer("expert_shared_feed_forward_length", 0) or self.n_ff(i)
        gate = self.source.vector(f"blk.{i}.ffn_gate_inp_shexp.weight", self.d)
        shared = Gated(gate, self.gated_mlp(i, kind="_shexp", n_ff=n_ff))
        return self.block(i, self.attention(i), Parallel(experts, shared))


class Qwen3(Family):
    """Qwen 3: pre-norm blocks, queries and keys normalised per head before RoPE, SwiGLU."""

    architectures = ("qwen3",)

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i, norms="head"), self.gated_mlp(i))


class Qwen3MoE(Family):
    """Qwen 3 with experts (30B-A3B, 235B-A22B): queries and keys normalised per head, the chosen experts' softmax
    weights divided by their sum."""

    architectures = ("qwen3moe",)

    def layer(self, i: int) -> Part:
        experts = self.experts(i, self.routing(i), self.n_ff_expert(i))
        return self.block(i, self.attention(i, norms="head"), experts)
