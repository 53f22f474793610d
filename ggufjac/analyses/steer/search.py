"""At which strength a push costs so much: pushes are measured side by side until all of them do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ggufjac.analyses.steer.effects import Effect

#: A price is met that is off by at most this share; so many rounds are measured at most.
WITHIN, ROUNDS = 0.03, 6
#: A strength is changed by at most this factor at a time; a price grows at least and at most with these powers of it.
STEP, POWERS = 4.0, (0.7, 6.0)
#: Below this a price is rounding, in nats.
LEAST = 1e-9

#: The effects of pushes, which are given by number, at strengths.
Measure = Callable[[Sequence[int], Sequence[float]], Sequence[Effect]]


def strengths_at(
    prices: Sequence[float], starts: Sequence[float], measure: Measure, within: float = WITHIN, rounds: int = ROUNDS
) -> list[tuple[float, Effect]]:
    """Of every push the strength, above 0, at which its price is met, and its effect there.

    The next strength of a push lies on the line through its two nearest points, ln price over ln strength; at first a
    price grows with the square. What does not meet its price in the rounds has the nearest strength that was measured.
    """
    known: list[dict[float, Effect]] = [{} for _ in starts]
    wanted = dict(enumerate(starts))
    for _ in range(rounds):
        found = measure(list(wanted), list(wanted.values()))
        for (i, strength), effect in zip(wanted.items(), found, strict=True):
            known[i][strength] = effect
        wanted = {
            i: _next(at, prices[i])
            for i, at in enumerate(known)
            if _off(_nearest(at, prices[i])[1], prices[i]) > within
        }
        if not wanted:
            break
    return [_nearest(at, price) for at, price in zip(known, prices, strict=True)]


def _off(effect: Effect, price: float) -> float:
    """How far a price is missed, as |ln|."""
    return abs(math.log(max(effect.price, LEAST) / price))


def _nearest(known: dict[float, Effect], price: float) -> tuple[float, Effect]:
    return min(known.items(), key=lambda point: _off(point[1], price))


def _next(known: dict[float, Effect], price: float) -> float:
    (s0, e0), *more = sorted(known.items(), key=lambda point: _off(point[1], price))
    p0, power = max(e0.price, LEAST), 2.0
    if more:
        s1, p1 = more[0][0], max(more[0][1].price, LEAST)
        power = min(POWERS[1], max(POWERS[0], math.log(p1 / p0) / math.log(s1 / s0)))
    factor: float = (price / p0) ** (1 / power)
    return s0 * min(STEP, max(1 / STEP, factor))
