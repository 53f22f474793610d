"""What sets one set of texts apart from another in the stream: a direction for every layer, and how well it separates
texts that it was not made from.

Of a text there is one state per layer: the mean over its positions, without the first (the sink), or that of the last
one. Three directions are made of two sets' states:

- "mean": the difference of the two means, as most tools do it;
- "pca": the leading right singular vector of the differences of the pairs, taken to point from the negative set to the
  positive one (Zou et al., "Representation Engineering", arXiv 2310.01405);
- "map": the difference of the means of what the exact maps make of the texts' vectors there, J_l x, under any rules;
  what the constants write is left out. With exact rules and no biases that is "mean".

A direction has length 1, and with it goes how far the two sets' means lie apart along it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from ggufjac.maps.model import Model
from ggufjac.maps.options import MapOptions

#: What a direction is made of: "mean", "pca" or "map"; a result holds it.
Kind: TypeAlias = str
#: Where a text is read.
At = Literal["mean", "last"]
#: Parts into which each set is dealt, each of which is held out once.
FOLDS = 5


@dataclass(frozen=True)
class Contrast:
    """The states of two sets of texts at every layer, [n, layers, width] each; written_a, written_b: what the exact
    maps make of them there (None: not asked for)."""

    a: Tensor
    b: Tensor
    written_a: Tensor | None = None
    written_b: Tensor | None = None

    @property
    def paired(self) -> bool:
        """Whether there are as many texts in one set as in the other, each with the one of its number."""
        return len(self.a) == len(self.b)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The directions that can be made."""
        found: list[Kind] = ["mean"]
        if self.paired:
            found.append("pca")
        if self.written_a is not None:
            found.append("map")
        return tuple(found)

    def without(self, held: Held) -> Contrast:
        """The sets without the texts that are held out."""
        written_a, written_b = self.written_a, self.written_b
        keep_a, keep_b = (torch.tensor(kept) for kept in (held.kept_a, held.kept_b))
        return Contrast(
            self.a[keep_a],
            self.b[keep_b],
            None if written_a is None else written_a[keep_a],
            None if written_b is None else written_b[keep_b],
        )

    def directions(self, kind: Kind) -> Tensor:
        """Of every layer, at length 1: [layers, width]; 0 where the sets do not differ."""
        apart = self.a.mean(0) - self.b.mean(0)
        if kind == "map":
            assert self.written_a is not None
            assert self.written_b is not None
            found = self.written_a.mean(0) - self.written_b.mean(0)
        elif kind == "pca":
            found = leading(self.a - self.b)
        else:
            found = apart
        found = found * torch.where((found * apart).sum(-1, keepdim=True) < 0, -1.0, 1.0)
        unit: Tensor = found / found.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(found.dtype).tiny)
        return unit

    def distances(self, directions: Tensor) -> Tensor:
        """How far the two means lie apart along directions [layers, width]: [layers]."""
        return ((self.a.mean(0) - self.b.mean(0)) * directions).sum(-1)


def leading(differences: Tensor) -> Tensor:
    """The leading right singular vector of differences [n, layers, width] of every layer: [layers, width]."""
    found: Tensor = torch.linalg.svd(differences.transpose(0, 1), full_matrices=False).Vh[:, 0]
    return found


@dataclass(frozen=True)
class Held:
    """Which texts of the two sets, of n_a and n_b, are held out once, by number."""

    a: tuple[int, ...]
    b: tuple[int, ...]
    n_a: int
    n_b: int

    @property
    def kept_a(self) -> tuple[int, ...]:
        return tuple(i for i in range(self.n_a) if i not in self.a)

    @property
    def kept_b(self) -> tuple[int, ...]:
        return tuple(i for i in range(self.n_b) if i not in self.b)


def folds(n_a: int, n_b: int, seed: int) -> tuple[Held, ...]:
    """Every text held out once, in FOLDS parts or as many as the smaller set has texts; pairs stay together where both
    sets have as many."""
    order_a, order_b = list(range(n_a)), list(range(n_b))
    random.Random(seed).shuffle(order_a)
    random.Random(seed).shuffle(order_b)
    n = min(FOLDS, n_a, n_b)
    return tuple(Held(tuple(sorted(order_a[i::n])), tuple(sorted(order_b[i::n])), n_a, n_b) for i in range(n))


@dataclass(frozen=True)
class Separation:
    """How well the direction of a layer tells texts that it was not made from.

    effect: the distance of the two sets along it over their pooled standard deviation (Cohen's d), each text measured
    along the direction of the others; 0 where nothing differs. right: the share of all pairs of a positive and a
    negative text that are in the right order (the area under the ROC curve).
    """

    layer: int
    kind: Kind
    effect: float
    right: float


def separations(contrast: Contrast, held: Sequence[Held]) -> tuple[Separation, ...]:
    """Of every layer and kind."""
    found = []
    for kind in contrast.kinds:
        a, b = (torch.zeros(x.shape[:2], dtype=torch.float64) for x in (contrast.a, contrast.b))
        for part in held:
            v = contrast.without(part).directions(kind)
            for into, states, which in ((a, contrast.a, part.a), (b, contrast.b, part.b)):
                at = torch.tensor(which)
                into[at] = (states[at] * v).sum(-1).double()
        for layer in range(a.shape[1]):
            found.append(Separation(layer, kind, _effect(a[:, layer], b[:, layer]), _right(a[:, layer], b[:, layer])))
    return tuple(found)


def _effect(a: Tensor, b: Tensor) -> float:
    spread = ((len(a) * a.var(correction=0) + len(b) * b.var(correction=0)) / (len(a) + len(b) - 2)).sqrt()
    apart = a.mean() - b.mean()
    return float(apart / spread) if spread > 0 else 0.0


def _right(a: Tensor, b: Tensor) -> float:
    order = (a[:, None] - b).sign()
    return float((order + 1).mean() / 2)


# --- states ------------------------------------------------------------------------------------------------------


def contrast_of(
    model: Model,
    positive: Sequence[Sequence[int]],
    negative: Sequence[Sequence[int]],
    at: At,
    options: MapOptions,
    *,
    written: bool,
    passed: Callable[[int], None] | None = None,
) -> Contrast:
    """The states of two sets of texts, given as token ids; written: also what the exact maps make of them, by the
    options' rules, which costs a column for each text."""
    sets = []
    for texts in (positive, negative):
        found = [_states(model, ids, at, options, written, passed) for ids in texts]
        sets.append(tuple(torch.stack([text[i] for text in found]) for i in range(2 if written else 1)))
    (a, *more_a), (b, *more_b) = sets
    return Contrast(a, b, *(x[0] if x else None for x in (more_a, more_b)))


def _states(
    model: Model,
    ids: Sequence[int],
    at: At,
    options: MapOptions,
    written: bool,
    passed: Callable[[int], None] | None,
) -> tuple[Tensor, ...]:
    """A text's states behind every layer, [layers, leaving], and where it is asked for what its maps make of it."""
    n, first = model.family.leaving, 1 if len(ids) > 1 else 0

    def pooled(stream: Tensor) -> Tensor:
        rows = stream[..., :n].cpu()
        return rows[-1] if at == "last" else rows[first:].mean(-2)

    streams = model.linearize_streams(ids, options, 0, passed)
    states = torch.stack([pooled(streams.stream(layer)) for layer in range(streams.n_layer)])
    if not written:
        return (states,)
    return states, torch.stack([pooled(y) for y in streams.written()])
