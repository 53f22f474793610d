"""minimax-m3: MiniMax M3.

The models choose blocks of positions with an indexer (MSA). llama.cpp does so only with flash attention, which rounds
to float16; without it, as here, queries read all positions. The two are the same as long as a text has no more blocks
of `attention.indexer.block_size` positions than `attention.indexer.top_k`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ggufjac.families.bases.mixture import Mixture
from ggufjac.families.gpt_oss import ALPHA, LIMIT
from ggufjac.families.parts import Bias, Elementwise, Experts, GatedMLP, Part, Routing
from ggufjac.families.parts import Sequential as Chain
from ggufjac.families.parts.activations import Ratio, clamp, oai_swish, silu


class MiniMaxM3(Mixture):
    """MiniMax M3: queries and keys normalised per head before RoPE on part of each head, clamped SwiGLUs whose up gets
    1 added, leading dense layers, then shared experts and routed ones with a selection bias; all positions are read."""

    architectures = ("minimax-m3",)

    def layer(self, i: int) -> Part:
        self.source.skip(f"blk.{i}.indexer.")
        return self.block(i, self.attention(i, norms="head"), self.mlp(i))

    def gated_mlp(self, i: int, ratio: Ratio = silu, *, kind: str = "", n_ff: int | None = None) -> GatedMLP:
        plain = super().gated_mlp(i, ratio, kind=kind, n_ff=n_ff)
        return GatedMLP(plain.gate, Chain(plain.up, *AFTER_UP), plain.down, oai_swish(ALPHA, LIMIT))

    def experts(
        self, i: int, routing: Routing, n_ff: int, ratio: Ratio = silu, after_up: Sequence[Part] = ()
    ) -> Experts:
        return super().experts(i, routing, n_ff, oai_swish(ALPHA, LIMIT), [*after_up, *AFTER_UP])


#: up within +-LIMIT, plus 1.
AFTER_UP = (Elementwise(clamp(LIMIT)), Bias(1.0, "up + 1"))
