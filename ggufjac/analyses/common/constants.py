"""What the network's constants give to what is explained: which biases, of which layers, at which positions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.within.constants import Constants, ConstantSource, constants
from ggufjac.operators import Bias
from ggufjac.operators.walk import leaves

#: What the head's constants are called where it does not say so.
HEAD = "output.bias"


@dataclass(frozen=True)
class ConstantTerms:
    """One constant of the network, and what it gives.

    layer: from 0, None outside of the layers; part: the write in whose branch it is added ("attn", "mlp", ...), None
    where that is the stream itself; name: the tensor's own in the file ("blk.3.attn_v.bias"), or what is added. terms:
    what it gives to every question; positions: to the first one, by the position at which it enters.
    """

    layer: int | None
    part: str | None
    name: str
    terms: tuple[float, ...]
    positions: tuple[float, ...]

    @property
    def kind(self) -> str:
        """The name without the layer's number."""
        return re.sub(r"^blk\.\d+\.", "", self.name)


def constants_of(linear: DetachedMap, functionals: Tensor, offsets: Sequence[float]) -> Constants:
    """The constants behind functionals [m, d] of the output, and the head's behind each: w . y + b, b of `offsets`.

    The head adds its own at the last position. One backward sweep of m columns, none where there are no constants.
    """
    found = constants(linear, functionals)
    if not any(offsets):
        return found
    name = next((leaf.name for leaf in leaves(linear.head) if isinstance(leaf, Bias)), HEAD)
    worth = functionals.new_zeros(1, *found.worth.shape[1:])
    worth[0, :, -1] = worth.new_tensor(offsets)
    return Constants((*found.sources, ConstantSource(None, None, name)), torch.cat((found.worth, worth)))


def constant_terms(found: Constants) -> tuple[ConstantTerms, ...]:
    """The constants in plain numbers, in the order of the network."""
    totals, first = found.worth.sum(-1).tolist(), found.worth[:, 0].tolist()
    return tuple(
        ConstantTerms(source.layer, source.part, source.name, tuple(terms), tuple(positions))
        for source, terms, positions in zip(found.sources, totals, first, strict=True)
    )
