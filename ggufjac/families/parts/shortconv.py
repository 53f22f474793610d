"""LFM2's mixer: a short causal convolution between two gates."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ggufjac.families.parts.elementary import Linear, multiplied
from ggufjac.families.parts.narrowing import kept
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Convolve, Operator, Sequential


@dataclass(frozen=True)
class ShortConv(Part):
    """y = out(c(x) * conv(b(x) * v(x))): both gates are coefficients, v, the convolution and out are live.

    projection gives b, c and v, one below the other; kernel [d, K].
    """

    projection: Linear
    kernel: Tensor
    out: Linear

    mixes = True

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        d = self.kernel.shape[0]
        keep = kept(run, x)
        b = self.projection.rows(0, d).build(run, x)
        c, u = self.projection.rows(d, 2 * d).build(run, keep.apply(x))
        enters, v = multiplied(run, self.projection.rows(2 * d, 3 * d).build(run, x), b, _same)
        mix = Sequential([Convolve(self.kernel.to(x)), keep])
        y = run.value("model.layers.{}.conv.conv", mix.apply(v))
        gated, y = multiplied(run, (Sequential([enters, mix]), y), (Sequential([keep, c]), u), _same)
        out, y = self.out.build(run, y)
        return Sequential([gated, out]), y


def _same(u: Tensor) -> Tensor:
    return u
