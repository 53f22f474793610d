"""Feed-forward parts."""

from __future__ import annotations

from torch import Tensor

from ggufjac.families.parts.activations import Ratio
from ggufjac.families.parts.elementary import Linear, activation_ratio
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Operator, Scale, Sequential


class GatedMLP(Part):
    """y = down(f(gate(x)) * up(x)): f(gate) is frozen and up is live, whatever the family (the path "up").

    The path "gate" freezes f(gate)/gate * up instead and keeps gate live; it reconstructs as exactly and is another
    map. gate and up are projections, or parts with more than that. name: llama.cpp's for what f is taken of.
    """

    def __init__(self, gate: Part, up: Part, down: Linear, ratio: Ratio, name: str = "") -> None:
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
        frozen = run.freeze(x)
        u = run.value(self.name, self.gate.value(run, frozen))
        ratio = activation_ratio(run, self.ratio, u)
        live, value = self.up.build(run, x) if run.rules.product == "up" else self.gate.build(run, x)
        scale = Scale(ratio * (u if run.rules.product == "up" else self.up.value(run, frozen)))
        down, y = self.down.build(run, scale.apply(value))
        return Sequential([live, scale, down]), y


class PlainMLP(Part):
    """y = down(f(up(x))): the ratio f(u)/u is frozen, u is live."""

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
        scale = Scale(activation_ratio(run, self.ratio, run.freeze(u)))
        down, y = self.down.build(run, scale.apply(u))
        return Sequential([up, scale, down]), y
