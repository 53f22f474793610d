"""What is done to the stream with one direction a layer: it is added, or what lies along it is taken away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ggufjac.families import Family
from ggufjac.operators import Bias, Operator
from ggufjac.operators.reject import Reject


class Pushed:
    """n texts, to each of which a vector of its own [n, leaving] is added behind a layer of its own, at every position.

    An `Influence` on their reading.
    """

    def __init__(self, family: Family, layers: Sequence[int], vectors: Tensor) -> None:
        self._leaving = family.leaving
        self._layers = torch.tensor(list(layers))
        self._vectors = vectors

    def advance(self, tokens: Tensor) -> None:
        """Nothing: it does not depend on the text."""

    def edit(self, layer: int, state: Tensor) -> Operator | None:
        here = self._layers == layer
        if not bool(here.any()):
            return None
        added = state.new_zeros(len(here), state.shape[-1])
        added[here, : self._leaving] = self._vectors[here].to(state)
        return Bias(added[:, None].expand(-1, state.shape[-2], -1))


class Ablated:
    """Texts whose stream has nothing along a direction behind some layers: h - <u, h> u, u the direction at length 1
    (Arditi et al., arXiv 2406.11717, do so wherever something is written).

    directions: by layer, [leaving] at length 1. An `Influence` on their reading.
    """

    def __init__(self, family: Family, directions: Mapping[int, Tensor]) -> None:
        self._leaving = family.leaving
        self._directions = directions

    def advance(self, tokens: Tensor) -> None:
        """Nothing: it does not depend on the text."""

    def edit(self, layer: int, state: Tensor) -> Operator | None:
        u = self._directions.get(layer)
        return None if u is None else Reject(F.pad(u, (0, state.shape[-1] - self._leaving)).to(state))
