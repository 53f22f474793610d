"""What the network itself says when the vectors that enter it are changed: every coefficient is computed anew."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ggufjac.families import Family
from ggufjac.network.batches import batches
from ggufjac.network.forward import propagate, run_of
from ggufjac.quants.memory.store import DeviceWeights


def logits_at(
    family: Family,
    ids: Sequence[int],
    inputs: Tensor,
    memory: int | None = None,
    store: DeviceWeights | None = None,
) -> Tensor:
    """The logits at the last position for n variants of a prompt: ids [T], inputs [n, T, d] -> [n, n_vocab].

    The tokens' numbers and positions stay what they are, only their vectors differ. memory: bytes that the values, and
    on a device the weights, may take (None: a quarter of what it has). store: where the device of the inputs has these.
    """
    placed = family.source.placed(inputs.device, memory)
    store = placed.store if store is None else store
    pieces = batches(family, len(inputs), inputs.shape[1], 1, inputs.element_size(), placed.budget.values)
    with torch.no_grad():
        passes = (propagate(family, run_of(ids, store=store), inputs[piece], keep=0) for piece in pieces)
        return torch.cat([done.logits[:, 0] for done in passes])
