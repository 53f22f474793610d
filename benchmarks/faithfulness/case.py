"""One prompt on one model: its prediction, the quantities that are explained, and the network without some tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.faithfulness.deletion import Deletion
from benchmarks.faithfulness.quantities import NAMES, Quantities
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.model import Model


class Case:
    """ids [T]; inputs [T, d], the vectors that enter the network; linear: the exact map at them."""

    def __init__(self, model: Model, text: str) -> None:
        self.model, self.ids = model, model.ids_of(text)
        self.linear = model.linearize(self.ids)
        self.inputs = self.linear.inputs
        self.quantities = Quantities.at(self.linear.logits)
        self.deletion = Deletion(model.family, self.ids, self.inputs, self.quantities)

    @property
    def n_tokens(self) -> int:
        return len(self.ids)

    def functionals(self, linear: DetachedMap, names: Sequence[str]) -> Tensor:
        """The quantities as functionals [len(names), d] of the final state of a map."""
        weights = self.quantities.weights[[NAMES.index(name) for name in names]]
        return torch.stack([linear.functional(row)[0] for row in weights])
