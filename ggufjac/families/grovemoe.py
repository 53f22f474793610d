"""grovemoe: inclusionAI's GroveMoE, whose experts come in groups with a small expert in common.

As llama.cpp has it: the common experts read what the routed ones give, and a common expert has the weight of the routed
expert of its own number, not of those that share it. One that several chosen experts share counts as often.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ggufjac.errors import UserError
from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Append, Experts, GatedMLP, Parallel, Part, Routing, Scale, Sequential, Slice
from ggufjac.families.parts.activations import silu
from ggufjac.families.parts.joins import Unnamed


@dataclass(frozen=True)
class Common(Routing):
    """Which common experts a token takes, by the routed ones that it takes: `size` of these share one."""

    size: int = 1

    def choose(
        self, logits: Tensor, settle: Callable[[Tensor], Tensor] = lambda chosen: chosen
    ) -> tuple[Tensor, Tensor]:
        chosen = super().choose(logits, settle)[0] // self.size
        return chosen, self.weights(logits, chosen)


class GroveMoE(Family):
    """GroveMoE 33B (3.1B to 3.3B active): Qwen 3 with experts, of which each group of two has a small expert in common;
    queries and keys normalised per head."""

    architectures = ("grovemoe",)

    def layer(self, i: int) -> Part:
        n = self.d
        experts = self.experts(i, self.routing(i), self.n_ff_expert(i))
        adjusted = Sequential(self.common_experts(i), Scale(self.source.number("expert_group_scale")))
        # llama.cpp has the same names for values of both
        mlp = Unnamed(Sequential(Append(experts), Parallel(Slice(n, 2 * n), adjusted)))
        return self.block(i, self.attention(i, norms="head"), mlp)

    def common_experts(self, i: int) -> Experts:
        """The experts that groups have in common, on the state and behind it what the routed experts gave."""
        b, d, size, used = f"blk.{i}.", self.d, self.source.count("experts_per_group"), self.routing(i).used
        n, n_ff = self.n_expert // size, self.source.integer("expert_chunk_feed_forward_length", 0) or self.d_key(i)
        if used > n or self.n_expert % size:
            raise UserError(
                f"{self.source.file.path}: groups of {size} of {self.n_expert} experts, of which a token takes {used}, "
                "are not known"
            )
        gate, up = self._stack(b + "ffn_gate_chexps", n, n_ff, d), self._stack(b + "ffn_up_chexps", n, n_ff, d)
        down = self._stack(b + "ffn_down_chexps", n, d, n_ff)

        def expert(e: int) -> Part:
            rows = e * n_ff, (e + 1) * n_ff
            return GatedMLP(gate.rows(*rows), up.rows(*rows), down.rows(e * d, (e + 1) * d), silu)

        router = Sequential(Slice(0, d), self.linear(b + "ffn_gate_inp", self.n_expert, d))
        return Experts(router, Common(used, size=size), expert, before=Slice(d, 2 * d))
