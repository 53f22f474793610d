"""phimoe: Phi-3.5-MoE and Phi-mini-MoE.

As llama.cpp has it, where the models' own definition differs: the norms do not centre (they are RMS norms with a bias),
and the chosen experts are weighted by the softmax over all of them, divided by the sum over the chosen ones.
"""

from __future__ import annotations

from ggufjac.families.parts import Bias, Part, Sequential
from ggufjac.families.phi3 import Phi3


class PhiMoE(Phi3):
    """Phi-3.5-MoE, Phi-mini-MoE and Phi-tiny-MoE: RMS norms and projections with biases (the output head included),
    RoPE with LongRoPE's factors, experts weighted by the softmax over all of them, divided by the sum."""

    architectures = ("phimoe",)

    def layer(self, i: int) -> Part:
        return self.block(i, self.attention(i), self.experts(i, self.routing(i), self.n_ff(i)))

    def norm(self, name: str, n: int) -> Part:
        return Sequential(super().norm(name, n), Bias(self.source.vector(f"{name}.bias", n), f"{name}.bias"))
