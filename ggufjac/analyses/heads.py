"""Which heads of attention give most to a quantity, where they look, and what they write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.analyses.common.predictions import TOKENS_PER_VECTOR
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.common.tokens import Piece
from ggufjac.errors import UserError
from ggufjac.maps.within.heads import MixedHeads, mixed_heads
from ggufjac.maps.within.headways import head_origins, head_vectors

#: How far above 1 the sum of probabilities may lie by rounding.
ROUNDED = 1e-4


@dataclass(frozen=True)
class HeadTerms:
    """One head and the first question.

    layer, part: the write that it is part of; head: its number among the layer's, from 0; total: its term. tokens: its
    term by the token at whose position it reads; elsewhere: what it reads at no token's own (blocks of them). begins:
    its term by the token in which the paths begin that it reads; constant: those that begin at constants. weights: what
    it multiplies each token's values by at the last position, attention's probabilities or what a recurrence hands on.
    writes: the tokens that what it writes there raises most. position: the token at which it reads what gives most;
    reads: those whose embeddings are the closest to what it reads there (none where its layer reads no such vector).
    """

    layer: int
    part: str
    head: int
    total: float
    tokens: tuple[float, ...]
    elsewhere: float
    begins: tuple[float, ...]
    constant: float
    weights: tuple[float, ...]
    position: int
    writes: tuple[Piece, ...]
    reads: tuple[Piece, ...]

    @property
    def shares(self) -> bool:
        """Whether the weights are such as probabilities are; those of a recurrence can be anything."""
        return min(self.weights) >= 0 and sum(self.weights) <= 1 + ROUNDED


@dataclass(frozen=True)
class LayerHeads:
    """All heads of one write.

    layer, part: which write; totals: their terms of the first question; rest: what else the write gives, biases
    behind its heads and branches beside them. Together they are what paths give whose last write it is.
    """

    layer: int
    part: str
    totals: tuple[float, ...]
    rest: float

    @property
    def total(self) -> float:
        return sum(self.totals) + self.rest


@dataclass(frozen=True)
class HeadAccount:
    """leading: the heads that give most, the first one first; layers: all of them by write; headless: the layers that
    have none. terms [L, H, T + 1] and weights [L, H, T]: of all heads, 0 where a layer has fewer."""

    leading: tuple[HeadTerms, ...]
    layers: tuple[LayerHeads, ...]
    headless: tuple[int, ...]
    terms: Tensor
    weights: Tensor


def heads_of(subject: Subject, functional: Tensor, k: int) -> HeadAccount:
    """The k heads that give most to a functional of the output [d]. Raises UserError where the model has none."""
    linear = subject.linear
    mixed = mixed_heads(linear, functional)
    if not mixed:
        raise UserError(
            f"{subject.model.file.path}: no layer of this model has heads to tell apart; leave --heads away"
        )
    every = [(i, h) for i, each in enumerate(mixed) for h in range(len(each.terms))]
    n_layer = len(linear.forward_pass.layers)
    totals = {(i, h): float(mixed[i].terms[h].sum()) for i, h in every}
    chosen = sorted(every, key=lambda at: -abs(totals[at]))[:k]
    places = [int(mixed[i].terms[h, :-1].abs().argmax()) for i, h in chosen]
    vectors = head_vectors(linear, mixed, chosen, places)
    origins = head_origins(linear, mixed, chosen).tolist()
    writes = subject.writes(vectors.writes, TOKENS_PER_VECTOR)
    reads = _decoded(subject, vectors.reads)
    return HeadAccount(
        leading=tuple(
            HeadTerms(
                layer=mixed[i].layer,
                part=mixed[i].part,
                head=mixed[i].first + h,
                total=totals[i, h],
                tokens=tuple(mixed[i].terms[h, :-1].tolist()),
                elsewhere=float(mixed[i].terms[h, -1]),
                begins=tuple(origins[n][:-1]),
                constant=origins[n][-1],
                weights=tuple(mixed[i].weights[h].tolist()),
                position=places[n],
                writes=writes[n],
                reads=reads[n],
            )
            for n, (i, h) in enumerate(chosen)
        ),
        layers=_layers(mixed),
        headless=tuple(sorted(set(range(n_layer)) - {each.layer for each in mixed})),
        terms=_stacked(mixed, [each.terms for each in mixed], n_layer),
        weights=_stacked(mixed, [each.weights for each in mixed], n_layer),
    )


def _decoded(subject: Subject, reads: Sequence[Tensor]) -> list[tuple[Piece, ...]]:
    """What vectors of a layer's input are as tokens; where they are not as wide as the embeddings, nothing."""
    width = subject.model.family.embedding.n_in
    fitting = [i for i, read in enumerate(reads) if len(read) == width]
    found: list[tuple[Piece, ...]] = [()] * len(reads)
    if fitting:
        decoded = subject.reads(torch.stack([reads[i] for i in fitting]), TOKENS_PER_VECTOR)
        for i, pieces in zip(fitting, decoded, strict=True):
            found[i] = pieces
    return found


def _layers(mixed: Sequence[MixedHeads]) -> tuple[LayerHeads, ...]:
    """By write; several mixings of one are told together."""
    names = dict.fromkeys((each.layer, each.part) for each in mixed)
    together = {name: [each for each in mixed if (each.layer, each.part) == name] for name in names}
    return tuple(
        LayerHeads(
            layer, part, tuple(t for each in own for t in each.terms.sum(1).tolist()), sum(each.rest for each in own)
        )
        for (layer, part), own in together.items()
    )


def _stacked(mixed: Sequence[MixedHeads], values: Sequence[Tensor], n_layer: int) -> Tensor:
    """[L, H, n] of what each mixing has for its heads."""
    most = max(each.first + len(each.terms) for each in mixed)
    out = values[0].new_zeros(n_layer, most, values[0].shape[-1])
    for each, own in zip(mixed, values, strict=True):
        out[each.layer, each.first : each.first + len(own)] = own
    return out
