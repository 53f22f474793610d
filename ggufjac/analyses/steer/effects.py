"""What a push gains and what it costs, in nats a token.

The gain is by how much ln of the probability of the concept's tokens rises in the text that is not steered, where such
tokens are given; otherwise by how much mean ln p of the positive texts' own tokens rises. The price is KL(not steered
|| steered) of the next token on ordinary texts, the mean over their positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ggufjac.analyses.common.agreement import kl_divergence
from ggufjac.analyses.steer.concepts import mass
from ggufjac.analyses.steer.leverage import POSITIONS, PRICE
from ggufjac.families import Family
from ggufjac.network.texts import Influence, logits_of_texts
from ggufjac.quants.memory.devices import widened
from ggufjac.quants.memory.store import DeviceWeights

#: Of a set of texts so many are read, and of each so many tokens.
TEXTS, LONGEST = 8, 64
#: Ordinary texts.
NEUTRAL = (
    "The old harbour lies below the town, where the river meets the sea. In summer the boats bring fish and visitors "
    "from the islands, and in the evening people walk along the wall and talk about the weather.",
    "To boil an egg, put it in cold water, bring the water to the boil and wait for seven minutes before you take it "
    "out. Fresh eggs are harder to peel than those that are a week old.",
)
#: Makes what changes the states of those pushes in a slice.
Pushes = Callable[[slice], Influence]


@dataclass(frozen=True)
class Effect:
    """In nats a token."""

    gain: float
    price: float


class Effects:
    """Measures pushes.

    spoken: texts whose own tokens' likelihood is the gain; unsteered: a text and the position from which on the gain is
    that of the tokens `counted` there, where there are any; neutral: ordinary texts.
    """

    def __init__(
        self,
        family: Family,
        spoken: Sequence[Sequence[int]],
        unsteered: tuple[Tensor, int],
        counted: tuple[int, ...],
        neutral: Sequence[Sequence[int]],
        dtype: torch.dtype,
        *,
        n_ctx: int,
        device: str | torch.device = "cpu",
        memory: int | None = None,
        store: DeviceWeights | None = None,
    ) -> None:
        self._family, self._dtype, self._n_ctx = family, dtype, n_ctx
        self._device, self._memory, self._store = device, memory, store
        self._counted = counted
        text, first = unsteered
        self._text, self._first = text[: first + POSITIONS], first
        self._spoken = [torch.tensor(list(ids[:LONGEST])) for ids in spoken[:TEXTS] if len(ids) > 1]
        self._neutral = [torch.tensor(list(ids[:LONGEST])) for ids in neutral[:TEXTS]]
        self._usual = [next(self._read(ids[None]))[0] for ids in self._neutral]
        self._before = torch.tensor([self._said(*heard) for heard in self._heard(None, 1)], dtype=torch.float64)

    def of(self, pushes: Pushes, n: int) -> list[Effect]:
        """The effects of n pushes."""
        prices = torch.zeros(n, len(self._neutral), dtype=torch.float64)
        for i, (ids, usual) in enumerate(zip(self._neutral, self._usual, strict=True)):
            steered = (row for piece in self._read(ids.expand(n, -1), pushes) for row in piece)
            prices[:, i] = torch.tensor([kl_divergence(usual, row) for row in steered], dtype=torch.float64)
        after = torch.tensor([self._said(*heard) for heard in self._heard(pushes, n)], dtype=torch.float64)
        rises = after.unflatten(0, (-1, n)) - self._before[:, None]
        return [Effect(*each) for each in zip(rises.mean(0).tolist(), prices.mean(1).tolist(), strict=True)]

    def _heard(self, pushes: Pushes | None, n: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The logits and tokens of every text of which a gain is measured, n times each."""
        for ids in (self._text,) if self._counted else self._spoken:
            first = self._first if self._counted else 0
            for piece in self._read(ids.expand(n, -1), pushes, first):
                yield from ((row, ids) for row in piece)

    def _said(self, logits: Tensor, ids: Tensor) -> float:
        if self._counted:
            return float(mass(logits, self._counted).mean())
        ln_p = widened(logits[:-1]).log_softmax(-1)
        return float(ln_p.gather(-1, ids[1:, None].to(ln_p.device)).mean())

    def _read(self, texts: Tensor, pushes: Pushes | None = None, first: int = 0) -> Iterator[Tensor]:
        return logits_of_texts(
            self._family,
            texts,
            self._dtype,
            first=first,
            influence=pushes,
            n_ctx=self._n_ctx,
            device=self._device,
            memory=self._memory,
            store=self._store,
        )


def best_at_price(strengths: Sequence[float], effects: Sequence[Effect], price: float = PRICE) -> tuple[float, Effect]:
    """The strength of the largest gain that costs no more than a price, on the lines through what was measured (and
    nothing at no strength)."""
    allowed = []
    for side in (1, -1):
        measured = [point for point in zip(strengths, effects, strict=True) if side * point[0] > 0]
        points = [(0.0, Effect(0.0, 0.0)), *sorted(measured, key=lambda point: abs(point[0]))]
        for (s0, e0), (s1, e1) in pairwise(points):
            if e1.price > price:
                share = (price - e0.price) / (e1.price - e0.price)
                allowed.append((s0 + share * (s1 - s0), Effect(e0.gain + share * (e1.gain - e0.gain), price)))
                break
            allowed.append((s1, e1))
    return max(allowed, key=lambda point: point[1].gain)
