"""Feed-forward parts."""

from __future__ import annotations

from torch import Tensor

from ggufjac.families.parts.activations import Ratio
from ggufjac.families.parts.elementary import Linear, activated
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Operator, Parallel, Scale, Sequential
from ggufjac.rules import Product

#: How much of the derivative of a gated product goes through `up`, and how much through the gate.
SHARES: dict[Product, tuple[float, float]] = {
    "up": (1.0, 0.0),
    "gate": (0.0, 1.0),
    "half": (0.5, 0.5),
    "tangent": (1.0, 1.0),
}


class GatedMLP(Part):
    """y = down(f(gate(x)) * up(x)), of which one factor is live, or both, whatever the family (the rule "product").

    gate, up and down are projections, or parts with more than that. name: llama.cpp's for what f is taken of.
    """

    def __init__(self, gate: Part, up: Part, down: Part, ratio: Ratio, name: str = "") -> None:
        self.gate = gate
        self.up = up
        self.down = down
        self.ratio: Ratio = ratio
        biased = isinstance(gate, Linear) and gate.bias is not None
        self.name = name or ("ffn_gate_b" if biased else "ffn_gate")

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.gate, self.up, self.down)

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        by_up, by_gate = SHARES[run.rules.product]
        before, u = self.gate.build(run, x)
        act, gate = activated(run, self.ratio, run.value(self.name, u))
        up, value = self.up.build(run, x)
        live: list[Operator] = []
        if by_up:
            live.append(Sequential([up, Scale(by_up * gate)]))
        if by_gate:
            live.append(Sequential([before, Scale(by_gate * value * act.s)]))
        down, y = self.down.build(run, run.share(value, by_up) * run.share(gate, by_gate))
        return Sequential([*live, down] if len(live) == 1 else [Parallel(live), down]), y


class PlainMLP(Part):
    """y = down(f(up(x)))."""

    def __init__(self, up: Linear, down: Linear, ratio: Ratio) -> None:
        self.up = up
        self.down = down
        self.ratio: Ratio = ratio

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.up, self.down)

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        up, u = self.up.build(run, x)
        u = run.value("ffn_up" if self.up.bias is None else "ffn_up_b", u)
        act, value = activated(run, self.ratio, u)
        down, y = self.down.build(run, value)
        return Sequential([up, act, down]), y
