"""Where a concept is best put into a text: the layer that raises it the most at the same price.

The text that the model writes by itself is read again while a push of several strengths is added at one candidate
layer after the other. The gain is by how much ln of the probability of the concept's tokens rises, the price
KL(unsteered || steered), both in nats and on average over the text's own positions. Gains at one strength cannot be
compared, because layers answer to the same push very differently, and neither can gains per nat, because a price grows
with the square of a push and a gain in proportion, so that the weakest push would always win. So each layer's gain is
read off at the same price, PRICE, on the line through its measured points (none at no strength).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from ggufjac.analyses.common.agreement import kl_divergence
from ggufjac.analyses.steer.concepts import mass
from ggufjac.analyses.steer.influences import ConceptMaps, Steering
from ggufjac.network.texts import logits_of_texts

#: Nats per token at which layers are compared.
PRICE = 0.5
#: The strengths that are measured.
STRENGTHS = (0.5, 1.0, 2.0)
#: Layers that are tried at most, and positions at which the unsteered text is compared.
LAYERS, POSITIONS = 12, 12


@dataclass(frozen=True)
class Candidate:
    """One layer. strength: at which the price is reached, or the largest one measured where it is not; gain, price: of
    that strength, in nats per token. gains, prices: those of STRENGTHS.
    """

    layer: int
    strength: float
    gain: float
    price: float
    gains: tuple[float, ...]
    prices: tuple[float, ...]


def candidate_layers(n_layer: int) -> tuple[int, ...]:
    """The layers that are tried: all of them, or LAYERS evenly spread ones with the first and the last."""
    if n_layer <= LAYERS:
        return tuple(range(n_layer))
    return tuple(round(i * (n_layer - 1) / (LAYERS - 1)) for i in range(LAYERS))


def candidates(
    concept: ConceptMaps,
    text: Tensor,
    first: int,
    counted: tuple[int, ...],
    *,
    n_ctx: int,
    memory: int | None,
    along: str = "text",
) -> tuple[Candidate, ...]:
    """Try every layer of the concept on the unsteered text [T], whose positions from `first` on are compared."""
    texts = text[: first + POSITIONS]
    pushes = [(layer, strength) for layer in concept.layers for strength in STRENGTHS]

    def steering(which: slice) -> Steering:
        layers, strengths = zip(*pushes[which], strict=True)
        return Steering(concept, layers, strengths, along)

    def read(texts: Tensor, influence: Callable[[slice], Steering] | None = None) -> Iterator[Tensor]:
        return logits_of_texts(
            concept.family,
            texts,
            concept.linear.dtype,
            first=first,
            influence=influence,
            n_ctx=n_ctx,
            device=concept.linear.device,
            memory=memory,
            store=concept.linear.store,
        )

    alone = next(read(texts[None]))[0]
    before = mass(alone, counted)
    gains, prices = [], []
    for piece in read(texts.expand(len(pushes), -1), steering):
        for logits in piece:
            gains.append(float((mass(logits, counted) - before).mean()))
            prices.append(kl_divergence(alone, logits))
    n = len(STRENGTHS)
    return tuple(
        at_price(layer, gains[i * n : (i + 1) * n], prices[i * n : (i + 1) * n])
        for i, layer in enumerate(concept.layers)
    )


def at_price(layer: int, gains: Sequence[float], prices: Sequence[float]) -> Candidate:
    """What a layer gains at PRICE, between the two measured strengths where the price is first reached."""
    points = list(zip((0.0, *STRENGTHS), (0.0, *gains), (0.0, *prices), strict=True))
    strength, gain, price = points[-1]
    for (s0, g0, p0), (s1, g1, p1) in pairwise(points):
        if p1 >= PRICE:
            share = (PRICE - p0) / (p1 - p0)
            strength, gain, price = s0 + share * (s1 - s0), g0 + share * (g1 - g0), PRICE
            break
    return Candidate(layer, strength, gain, price, tuple(gains), tuple(prices))
