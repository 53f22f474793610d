"""Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): keys and values from one small vector per position."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.families.parts.attention import Attention
from ggufjac.families.parts.elementary import Grouped, Linear
from ggufjac.families.parts.joins import Sequential as Sequence
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import (
    Heads,
    Identity,
    MatMul,
    Mix,
    Operator,
    Pad,
    Parallel,
    Sequential,
    Stack,
    Transposed,
)
from ggufjac.quants.tensor import QuantTensor


@dataclass(frozen=True, kw_only=True)
class LatentAttention(Attention):
    """Attention whose values come from a latent vector, and all but the rotated part of the keys.

    v leads from x through the latent vector to the values of all heads. k gives the part of a key that all heads share
    and that alone is rotated; it can be empty. latent gives the latent vector once more, content what every head's key
    takes from it, side by side. Queries end in the rotated part, so their rotation has that offset.
    values: the projection from the latent vector to the values, where the file holds it apart from that to the keys.
    """

    latent: Part
    content: Part
    values: Linear | None = None

    def _frozen(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        if self.values is None or not run.mixes_latent:
            return super()._frozen(run, x)
        p = run.attended(x, lambda: self.probabilities(run, x))
        latent, c = self.latent.build(run, x)
        keep, c = run.stored(c)
        mix = Mix(p, 1)
        project, y = Grouped(self.values, self.n_head).build(run, mix.apply(c))
        return Sequential([latent, keep, mix, project]), y

    def keys(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        content, own = Sequence(self.latent, self.content).build(run, x)
        shared, common = self.k.build(run, x)
        n = self.n_head
        if not common.shape[-1]:
            return self._heads(run, (content, own), None, n, None)
        n_own, n_common = own.shape[-1] // n, common.shape[-1]
        repeat = Stack([Identity()] * n, [n_common] * n)
        whole = n_own + n_common
        begins, ends = Heads(Pad(0, n_own, whole), n), Heads(Pad(n_own, whole, whole), n)
        op = Parallel([Sequential([content, begins]), Sequential([shared, repeat, ends])])
        heads = torch.cat((own.unflatten(-1, (n, -1)), common[..., None, :].expand(*common.shape[:-1], n, -1)), -1)
        return self._heads(run, (op, heads.flatten(-2)), None, n, None)


class Absorbed(Part):
    """y_h = c W_h for every head, side by side: W_h [n, m] is row block h of the weight, which is so transposed."""

    def __init__(self, weight: QuantTensor, n_head: int) -> None:
        self.weight = weight
        self.n_head = n_head

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        n, m = x.shape[-1], self.weight.n_in
        heads = [Transposed(MatMul(self.weight.rows(h * n, (h + 1) * n), run.store)) for h in range(self.n_head)]
        op = Stack(heads, [m] * self.n_head)
        return op, op.apply(x)
