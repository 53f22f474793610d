"""The network on a prompt of which some token vectors are 0, asked once for every set of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from benchmarks.faithfulness.quantities import Quantities
from ggufjac.families import Family
from ggufjac.network.variants import logits_at

#: Variants whose logits are held at once.
AT_ONCE = 128


class Deletion:
    """What the quantities are where the tokens of a set are zeroed; many curves share their first and last steps."""

    def __init__(self, family: Family, ids: Sequence[int], inputs: Tensor, quantities: Quantities) -> None:
        self._family, self._ids, self._inputs, self._quantities = family, ids, inputs, quantities
        self._known: dict[frozenset[int], Tensor] = {}

    def ask(self, sets: Iterable[frozenset[int]]) -> None:
        """Run those that are not known yet, side by side."""
        new = list(dict.fromkeys(gone for gone in sets if gone not in self._known))
        for start in range(0, len(new), AT_ONCE):
            part = new[start : start + AT_ONCE]
            x = self._inputs.repeat(len(part), 1, 1)
            for i, gone in enumerate(part):
                x[i, list(gone)] = 0
            values = self._quantities.of(logits_at(self._family, self._ids, x)).double()
            self._known.update(zip(part, values, strict=True))

    def values(self, sets: Iterable[frozenset[int]]) -> Tensor:
        """[n, len(NAMES)] for n sets."""
        sets = list(sets)
        self.ask(sets)
        return torch.stack([self._known[gone] for gone in sets])

    def __len__(self) -> int:
        return len(self._known)
