"""What is explained: a number that the logits of one prediction give, whose target and rivals are fixed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: ln p by its derivative at the prompt, and by its secant from equal logits to the prompt's.
LOG_P, CHANCE = "ln p", "ln p above chance"
#: The target's logit above the mean of so many of the likeliest others.
RIVALS = (1, 4)
OVER = {k: "over the runner-up" if k == 1 else f"over the likeliest {k}" for k in RIVALS}
NAMES = ("logit", "centred", LOG_P, CHANCE, *OVER.values())
#: Points at which the secant's slope is taken.
NODES = 32


@dataclass(frozen=True)
class Quantities:
    """weights [len(NAMES), n_vocab]: of the logits, at those of the whole prompt.

    The quantities that are linear in the logits are their sums with these weights. Of ln p they are the derivative; or,
    as the secant, its mean over the logits a z for all a from 0 to 1, by which z adds up to ln p - ln(1 / n_vocab).
    """

    target: int
    weights: Tensor

    @classmethod
    def at(cls, logits: Tensor) -> Quantities:
        """Those of the likeliest token."""
        ranked = logits.argsort(descending=True)
        target, n = int(ranked[0]), len(logits)
        unit = torch.zeros_like(logits)
        unit[target] = 1
        rows = [unit, unit - 1 / n, unit - logits.softmax(-1), unit - mean_softmax(logits)]
        for k in RIVALS:
            row = unit.clone()
            row[ranked[1 : k + 1]] -= 1 / k
            rows.append(row)
        return cls(target, torch.stack(rows))

    def of(self, logits: Tensor) -> Tensor:
        """Their values [n, len(NAMES)] at other logits [n, n_vocab]."""
        values = list((logits @ self.weights.T).unbind(-1))
        log_p = logits.log_softmax(-1)[:, self.target]
        for name in (LOG_P, CHANCE):
            values[NAMES.index(name)] = log_p
        return torch.stack(values, -1)


def mean_softmax(logits: Tensor) -> Tensor:
    """The mean of softmax(a z) over a from 0 to 1, for logits z."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    points = zip((nodes + 1) / 2, weights / 2, strict=True)
    return torch.stack([float(weight) * (float(a) * logits).softmax(-1) for a, weight in points]).sum(0)
