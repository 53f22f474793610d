"""apertus: the Swiss AI initiative's Apertus 8B and 70B.

Where llama.cpp differs from the models' own definition: it reads biases of the norms of queries and keys and does not
add them.
"""

from __future__ import annotations

import numpy as np

from ggufjac.families.bases.base import Family
from ggufjac.families.parts import Part, PlainMLP, Rope
from ggufjac.families.parts.activations import Ratio, xielu


class Apertus(Family):
    """Apertus: pre-norm blocks, queries and keys normalised per head, Llama 3's or LongRoPE's scaling, an MLP without a
    gate whose activation xIELU has parameters in every layer."""

    architectures = ("apertus",)

    def layer(self, i: int) -> Part:
        n_ff = self.n_ff(i)
        up, down = self.linear(f"blk.{i}.ffn_up", n_ff, self.d), self.linear(f"blk.{i}.ffn_down", self.d, n_ff)
        for name in ("q", "k"):
            self.source.skip(f"blk.{i}.attn_{name}_norm.bias")
        return self.block(i, self.attention(i, norms="head"), PlainMLP(up, down, self.activation(i)))

    def activation(self, i: int) -> Ratio:
        """xIELU with the layer's numbers, whose keys have no architecture before them."""
        alpha_n, alpha_p, beta, eps = (
            self.source.number_of_layer(f"xielu.{name}", i) for name in ("alpha_n", "alpha_p", "beta", "eps")
        )
        return xielu(beta + float(np.logaddexp(0, alpha_n)), float(np.logaddexp(0, alpha_p)), beta, eps)

    def rope(self, i: int) -> Rope | None:
        return self.plain_rope(i, factors=self.rope_freqs(i))
