"""Two sets of logits for the same prompt: llama.cpp's and those of exact arithmetic on the same weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ggufjac.quants.memory.devices import widened

#: How far llama.cpp may be from exact arithmetic, as a share of the logits' spread, before it is a disagreement. With
#: quantised weights llama.cpp rounds activations to 8 bits, which was measured at 0.02 to 0.07 of the spread.
ROUNDING = 0.35
#: A tie is near when the rounding that was measured in this very comparison, this many times over, could turn it.
TIE = 4.0
OVERLAP = 10


@dataclass(frozen=True)
class Agreement:
    """llama.cpp's logits beside the exact ones, at one position.

    verdict: MATCH, NEAR-TIE or MISMATCH; ours, theirs: the ids of the first tokens. largest: the largest difference;
    noise: its root mean square without the common shift; spread: the exact logits' standard deviation. overlap: shared
    tokens among each side's first ten. kl: KL(exact || llama.cpp) in nats. margin: by how many logits exact arithmetic
    prefers its own first token to llama.cpp's.
    """

    verdict: str
    ours: int
    theirs: int
    largest: float
    noise: float
    spread: float
    overlap: int
    kl: float
    margin: float

    @property
    def relative(self) -> float:
        """The largest difference as a share of the spread."""
        return self.largest / self.spread

    @property
    def agrees(self) -> bool:
        return self.verdict != "MISMATCH"


def compare(exact: NDArray[np.floating], judged: NDArray[np.floating], limit: float, *, of: str = "noise") -> Agreement:
    """Judge llama.cpp's logits `judged` [n_vocab] against the `exact` ones [n_vocab].

    MATCH: the difference is within `limit` times the spread and the first tokens agree. NEAR-TIE: the same, but the
    first tokens differ by less than the measured noise explains. MISMATCH: anything else. `of` says which difference
    is limited, "noise" or "largest".
    """
    a, b = np.asarray(exact, np.float64), np.asarray(judged, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"logits of {a.shape} and {b.shape} cannot be compared")
    difference = b - a
    noise = float(np.sqrt(np.mean((difference - difference.mean()) ** 2)))
    largest, spread = float(np.abs(difference).max()), float(a.std())
    ours, theirs = int(a.argmax()), int(b.argmax())
    margin = float(a[ours] - a[theirs])
    within = (noise if of == "noise" else largest) <= limit * spread
    if not (within and np.isfinite(largest)):
        verdict = "MISMATCH"
    elif ours == theirs:
        verdict = "MATCH"
    else:
        verdict = "NEAR-TIE" if margin <= TIE * noise else "MISMATCH"
    kl = kl_divergence(torch.from_numpy(a), torch.from_numpy(b))
    shared = len(set(_first(a)) & set(_first(b)))
    return Agreement(verdict, ours, theirs, largest, noise, spread, shared, kl, margin)


def _first(logits: NDArray[np.float64]) -> list[int]:
    return [int(i) for i in np.argpartition(-logits, OVERLAP - 1)[:OVERLAP]]


def kl_divergence(p: Tensor, q: Tensor) -> float:
    """KL(p || q) in nats, of logits [..., n_vocab]; the mean over leading dimensions.

    Heads may be padded to different lengths; what both have is compared.
    """
    n = min(p.shape[-1], q.shape[-1])
    one, other = (widened(logits[..., :n]).log_softmax(-1) for logits in (p, q))
    return float((one.exp() * (one - other)).sum(-1).mean())
