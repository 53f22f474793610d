"""Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): keys and values from one small vector per position."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.families.parts.attention import Attention
from ggufjac.families.parts.run import Part, Run


@dataclass(frozen=True, kw_only=True)
class LatentAttention(Attention):
    """Attention whose values come from a latent vector: its normalisation is frozen, the way through it stays live.

    v leads from x through the latent vector to the values of all heads. k gives the part of a key that all heads share
    and that alone is rotated. latent gives the latent vector once more, content what every head's key takes from it
    ([..., T, n] -> [..., T, n_head, d]). Queries end in the rotated part, so their rotation has that offset.
    """

    latent: Part
    content: Callable[[Tensor], Tensor]

    def keys(self, run: Run, x: Tensor) -> Tensor:
        content = self.content(self.latent.value(run, x))
        shared = self.k.value(run, x)[..., None, :]
        whole = torch.cat((content, shared.expand(*content.shape[:-1], -1)), -1)
        return whole if self.rope is None else self.rope.rotate(whole, run.positions, run.n_ctx)
