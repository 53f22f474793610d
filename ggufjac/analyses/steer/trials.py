"""Which layer's direction is used: every one is made without some texts, and tried on these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ggufjac.analyses.steer.contrast import Contrast, Held, Kind, Separation
from ggufjac.analyses.steer.effects import Effects, Pushes, best_at_price
from ggufjac.analyses.steer.leverage import PRICE
from ggufjac.analyses.steer.pushes import Ablated, Pushed
from ggufjac.maps.model import Model

#: Strengths at which layers are tried.
TRIED = (1.0, 2.0, 4.0)


@dataclass(frozen=True)
class PairsCandidate:
    """A layer that was tried on held-out texts. kind: of its direction; strength: of the largest gain within the
    price (0: the direction was taken out); gain, price: there, in nats a token."""

    layer: int
    kind: Kind
    strength: float
    gain: float
    price: float


def best_kind(found: Sequence[Separation], layer: int, asked: Kind | None) -> Kind:
    """The one that separates best at a layer, the simplest of equals."""
    here = [one for one in found if one.layer == layer and asked in (None, one.kind)]
    best: Kind = max(here, key=lambda one: one.effect).kind
    return best


def candidates_of(
    model: Model,
    contrast: Contrast,
    held: Held,
    places: Sequence[tuple[int, Kind]],
    effects: Effects,
    ablated: tuple[int, ...],
) -> tuple[PairsCandidate, ...]:
    """The directions of the texts that are not held out, on those that are."""
    rest, found = contrast.without(held), []
    for layer, kind in places:
        directions = rest.directions(kind)
        v, distance = directions[layer], float(rest.distances(directions)[layer])
        if ablated:
            strength, (effect,) = 0.0, effects.of(ablation(model, v, ablated), 1)
        else:
            strength, effect = best_at_price(TRIED, effects.of(along(model, layer, v * distance, TRIED), len(TRIED)))
        found.append(PairsCandidate(layer, kind, strength, effect.gain, effect.price))
    return tuple(found)


def chosen_of(tried: Sequence[PairsCandidate], ablated: bool) -> PairsCandidate:
    """The layer of the largest gain; of a direction that is taken out, of the largest loss that costs no more than the
    price, or where all cost more, of the cheapest."""
    if not ablated:
        return max(tried, key=lambda c: (c.gain, -c.layer))
    cheap = [c for c in tried if c.price <= PRICE]
    if cheap:
        return min(cheap, key=lambda c: (c.gain, c.layer))
    return min(tried, key=lambda c: (c.price, c.layer))


def along(model: Model, layer: int, v: Tensor, strengths: Sequence[float]) -> Pushes:
    """v, so many times over, behind one layer."""
    vectors = torch.tensor(list(strengths), dtype=v.dtype)[:, None] * v
    return lambda which: Pushed(model.family, [layer] * len(vectors[which]), vectors[which])


def ablation(model: Model, v: Tensor, layers: Sequence[int]) -> Pushes:
    """What lies along v taken out behind some layers."""
    return lambda _: Ablated(model.family, dict.fromkeys(layers, v))
