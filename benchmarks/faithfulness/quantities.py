"""What is explained: a number that the logits of one prediction give, whose target and rivals are fixed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LOG_P = "ln p"
#: The target's logit above the mean of so many of the likeliest others.
RIVALS = (1, 2, 5, 10, 50)
OVER = {k: "over the runner-up" if k == 1 else f"over the likeliest {k}" for k in RIVALS}
NAMES = ("logit", "centred", LOG_P, *OVER.values())


@dataclass(frozen=True)
class Quantities:
    """weights [len(NAMES), n_vocab]: the derivative of each by the logits, at those of the whole prompt. All but ln p
    are linear in the logits."""

    target: int
    weights: Tensor

    @classmethod
    def at(cls, logits: Tensor) -> Quantities:
        """Those of the likeliest token."""
        ranked = logits.argsort(descending=True)
        target, n = int(ranked[0]), len(logits)
        unit = torch.zeros_like(logits)
        unit[target] = 1
        rows = [unit, unit - 1 / n, unit - logits.softmax(-1)]
        for k in RIVALS:
            row = unit.clone()
            row[ranked[1 : k + 1]] -= 1 / k
            rows.append(row)
        return cls(target, torch.stack(rows))

    def of(self, logits: Tensor) -> Tensor:
        """Their values [n, len(NAMES)] at other logits [n, n_vocab]."""
        linear = logits @ self.weights.T
        log_p = logits.log_softmax(-1)[:, self.target, None]
        at = NAMES.index(LOG_P)
        return torch.cat((linear[:, :at], log_p, linear[:, at + 1 :]), 1)
