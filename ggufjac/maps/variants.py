"""What the network itself says when the vectors that enter it are changed: every coefficient is computed anew."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ggufjac.families import Family
from ggufjac.maps.devices import default_budget
from ggufjac.maps.passes import propagate, run_of

#: Positions of all variants together that pass a layer at once: enough to make the products worth the weights.
ROWS = 1 << 9
#: Values that live at once inside a layer, in multiples of the stream's width d: a few as wide as a hidden layer; and
#: attention's scores, with one head for every so many entries of the stream at least.
INSIDE, HEAD = 32, 32


def logits_at(family: Family, ids: Sequence[int], inputs: Tensor, memory: int | None = None) -> Tensor:
    """The logits at the last position for n variants of a prompt: ids [T], inputs [n, T, d] -> [n, n_vocab].

    The tokens' numbers and positions stay what they are, only their vectors differ. memory: bytes that the values may
    take (None: a quarter of what the device has).
    """
    n_tokens, d = inputs.shape[1:]
    budget = default_budget(inputs.device) if memory is None else memory
    values = n_tokens * d * (family.n_layer + INSIDE + n_tokens // HEAD) + family.n_vocab
    step = max(1, min(ROWS // n_tokens, budget // (values * inputs.element_size())))
    with torch.no_grad():
        passes = (propagate(family, run_of(ids), piece, keep=0) for piece in inputs.split(step))
        return torch.cat([done.logits[:, 0] for done in passes])
