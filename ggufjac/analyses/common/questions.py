"""What is explained of a prediction: how far a token's logit is above something, as a functional of the final state.

What all logits have in common moves no prediction, so a difference says more than a logit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ggufjac.analyses.common.predictions import Prediction, prediction_of
from ggufjac.analyses.common.tokens import Speller
from ggufjac.analyses.options import Above
from ggufjac.maps.detached import DetachedMap

#: How many of the likeliest other tokens a mean is taken of.
LIKELIEST = 4
#: Points at which the mean over softmax is taken.
NODES = 64


@dataclass(frozen=True)
class Question:
    """How far the target's logit is above something.

    above: "zero" (it is the logit itself), "token" (another token's logit), "likeliest" (the mean logit of the four
    likeliest others), "mean" (of all tokens), or "chance": then it is ln p above that of equal logits, which is the
    target's logit above the mean that softmax(a z) takes of the logits z, for all a from 0 to 1 alike. against: the
    other token, where it is one; value: how far, which is what the terms add up to.
    """

    target: Prediction
    above: str
    against: Prediction | None
    value: float


def ask(linear: DetachedMap, speller: Speller, target: int | None, above: Above, against: int | None) -> Question:
    """The question about one token (None: the likeliest), above what is named, or above the token `against`."""
    wanted = prediction_of(linear, speller, target)
    if against is None and above == "rival":
        against = next(i for i in linear.logits.topk(2).indices.tolist() if i != wanted.token.id)
    rival = None if against is None else prediction_of(linear, speller, against)
    named = above if rival is None else "token"
    weights = _weights(linear.logits, wanted.token.id, named, against)
    return Question(wanted, named, rival, float(weights @ linear.logits.double()))


def functionals(linear: DetachedMap, questions: Sequence[Question]) -> tuple[Tensor, Tensor]:
    """w [m, d] and b [m] float64 with w . y + b the value of each question."""
    found = []
    for q in questions:
        against = None if q.against is None else q.against.token.id
        found.append(linear.functional(_weights(linear.logits, q.target.token.id, q.above, against)))
    return torch.stack([w for w, _ in found]), torch.tensor([b for _, b in found], dtype=torch.float64)


def _mean_softmax(logits: Tensor) -> Tensor:
    """The mean of softmax(a z) over a from 0 to 1 [n_vocab]: by it ln p is a sum over the logits (the integral of its
    derivative from equal logits to these), where its derivative at the end tells what little is left to gain."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    total = torch.zeros_like(logits)
    for a, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        total += float(weight) * (float(a) * logits).softmax(-1)
    return total


def _weights(logits: Tensor, target: int, above: str, against: int | None) -> Tensor:
    """[n_vocab] float64: the quantity as a sum over the logits."""
    weights = torch.zeros(len(logits), dtype=torch.float64)
    if above == "token":
        weights[against] = -1
    elif above == "likeliest":
        likeliest = [i for i in logits.topk(min(LIKELIEST + 1, len(logits))).indices.tolist() if i != target]
        weights[likeliest[:LIKELIEST]] = -1 / min(LIKELIEST, len(likeliest))
    elif above == "mean":
        weights -= 1 / len(logits)
    elif above == "chance":
        weights -= _mean_softmax(logits.double())
    weights[target] += 1
    return weights
