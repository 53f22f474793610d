"""Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): keys and values from one small vector per position."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.families.parts.attention import Attention, rotated
from ggufjac.families.parts.elementary import Linear
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Mix, Operator, Sequential, Slice, Stack


@dataclass(frozen=True, kw_only=True)
class LatentAttention(Attention):
    """Attention whose values come from a latent vector: its normalisation is frozen, the way through it stays live.

    v leads from x through the latent vector to the values of all heads. k gives the part of a key that all heads share
    and that alone is rotated. latent gives the latent vector once more, content what every head's key takes from it
    ([..., T, n] -> [..., T, n_head, d]). Queries end in the rotated part, so their rotation has that offset.
    values: the projection from the latent vector to the values, where the file holds it apart from that to the keys.
    """

    latent: Part
    content: Callable[[Tensor], Tensor]
    values: Linear | None = None

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        if self.values is None or not run.mixes_latent:
            return super().build(run, x)
        p = run.attended(x, lambda: self.probabilities(run, run.freeze(x)))
        latent, c = self.latent.build(run, x)
        keep, c = run.stored(c)
        mix = Mix(p, 1)
        project, y = self._values_of_heads(run, mix.apply(c), self.values)
        out, y = self.out.build(run, y)
        return Sequential([latent, keep, mix, project, out]), y

    def _values_of_heads(self, run: Run, x: Tensor, values: Linear) -> tuple[Operator, Tensor]:
        """From the latent vectors that all heads read, side by side, to the heads' values, side by side."""
        n, m = x.shape[-1], values.weight.n_out // self.n_head
        operators, read = [], []
        for h, c in enumerate(x.split(n // self.n_head, -1)):
            op, y = values.rows(h * m, (h + 1) * m).build(run, c)
            operators.append(Sequential([Slice(h * c.shape[-1], (h + 1) * c.shape[-1], n), op]))
            read.append(y)
        return Stack(operators, [m] * self.n_head), torch.cat(read, -1)

    def keys(self, run: Run, x: Tensor) -> Tensor:
        content = self.content(self.latent.value(run, x))
        shared = self.k.value(run, x)[..., None, :]
        whole = torch.cat((content, shared.expand(*content.shape[:-1], -1)), -1)
        return whole if self.rope is None else rotated(run, self.rope, whole, None)
