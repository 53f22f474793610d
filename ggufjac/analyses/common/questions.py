"""What is explained of a prediction: how far a token's logit is above something, as a functional of the final state.

What all logits have in common moves no prediction, so a difference says more than a logit. So does ln p, which is no
sum over logits but can be told as one: from equal logits, where p is 1 over the number of tokens, to those of the
prediction its slopes change from 1/n to p, and their means on this way are weights whose sum over the logits is exactly
what ln p has gained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ggufjac.analyses.common.predictions import Prediction, prediction_of
from ggufjac.analyses.common.tokens import Speller
from ggufjac.analyses.options import Above
from ggufjac.maps.detached import DetachedMap

#: How many of the likeliest other tokens a mean is taken of.
LIKELIEST = 4
#: On the way from equal logits slopes are taken at so many points (Gauss and Legendre's) of every panel, in which the
#: first logit gets no further than STEP from the mean. (ln p is then right to 1e-11.)
POINTS, STEP = 10, 4.0
#: So many panels are as wide as each other; where that is too few, panels double.
PANELS = 512


@dataclass(frozen=True)
class Question:
    """How far the target's logit is above something.

    above: "zero" (it is the logit itself), "token" (another token's logit), "likeliest" (the mean logit of the four
    likeliest others), "mean" (of all tokens) or "chance" (ln p above that of a guess among all tokens). against: the
    other token, where it is one; value: how far, which is what the terms add up to.
    """

    target: Prediction
    above: str
    against: Prediction | None
    value: float


def ask(logits: Tensor, speller: Speller, target: int | None, above: Above, against: int | None) -> Question:
    """The question about one token (None: the likeliest), above what is named, or above the token `against`; logits
    [n_vocab]: those of the prediction."""
    return question_and_weights(logits, speller, target, above, against)[0]


def question_and_weights(
    logits: Tensor, speller: Speller, target: int | None, above: Above, against: int | None
) -> tuple[Question, Tensor]:
    """The same, with the quantity as weights [n_vocab] float64 of a sum over the logits."""
    wanted = prediction_of(logits, speller, target)
    if against is None and above == "rival":
        against = next(i for i in logits.topk(2).indices.tolist() if i != wanted.token.id)
    rival = None if against is None else prediction_of(logits, speller, against)
    named = above if rival is None else "token"
    weights = _weights(logits, wanted.token.id, named, against)
    return Question(wanted, named, rival, float(weights @ logits.double())), weights


def functionals(linear: DetachedMap, questions: Sequence[Question]) -> tuple[Tensor, Tensor]:
    """w [m, d] and b [m] float64 with w . y + b the value of each question."""
    found = []
    for q in questions:
        against = None if q.against is None else q.against.token.id
        weights = _weights(linear.logits, q.target.token.id, q.above, against)
        found.append(linear.functional(weights.to(linear.dtype)))  # before a device sees it that may lack float64
    return torch.stack([w for w, _ in found]), torch.tensor([b for _, b in found], dtype=torch.float64)


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


def _mean_softmax(logits: Tensor) -> Tensor:
    """The mean of softmax(s logits) for s from 0 to 1."""
    z = logits - logits.max()
    panels = max(1, math.ceil(-float(z.mean()) / STEP))
    places, sizes = np.polynomial.legendre.leggauss(POINTS)
    if panels > PANELS:
        return _by_doubling(z, panels, places, sizes)
    onwards = (z / panels).exp()  # from a point to the same one of the next panel: few exponentials serve all
    mean = torch.zeros_like(z)
    for place, size in zip(places, sizes, strict=True):
        e = (float(1 + place) / (2 * panels) * z).exp_()
        for _ in range(panels):
            mean.add_(e, alpha=float(size) / (2 * panels * float(e.sum())))
            e *= onwards
    return mean


def _by_doubling(z: Tensor, panels: int, places: NDArray[np.float64], sizes: NDArray[np.float64]) -> Tensor:
    """The same for logits that are far apart: panels that double, from the width of the equal ones on."""
    edges = [0.0, *(2.0**-k for k in range(panels.bit_length(), -1, -1))]
    mean = torch.zeros_like(z)
    for low, high in pairwise(edges):
        for place, size in zip(places, sizes, strict=True):
            s = (low + high) / 2 + (high - low) / 2 * float(place)
            mean.add_((s * z).softmax(-1), alpha=float(size) * (high - low) / 2)
    return mean
