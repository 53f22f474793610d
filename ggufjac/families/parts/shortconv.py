"""LFM2's mixer: a short causal convolution between two gates."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ggufjac.families.parts.elementary import Linear
from ggufjac.families.parts.narrowing import kept
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Convolve, Operator, Scale, Sequential


@dataclass(frozen=True)
class ShortConv(Part):
    """y = out(c(x) * conv(b(x) * v(x))): both gates are frozen, v, the convolution and out are live.

    projection gives b, c and v, one below the other; kernel [d, K].
    """

    projection: Linear
    kernel: Tensor
    out: Linear

    mixes = True

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        d = self.kernel.shape[0]
        frozen = run.freeze(x)
        keep = kept(run, x)
        b = self.projection.rows(0, d).value(run, frozen)
        c = self.projection.rows(d, 2 * d).value(run, keep.apply(frozen))
        live, v = self.projection.rows(2 * d, 3 * d).build(run, x)
        mix = Sequential([Scale(b), Convolve(self.kernel.to(x)), keep])
        y = run.value("model.layers.{}.conv.conv", mix.apply(v))
        gate = Scale(c)
        out, y = self.out.build(run, gate.apply(y))
        return Sequential([live, mix, gate, out]), y
