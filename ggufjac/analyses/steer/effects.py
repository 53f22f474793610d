"""What a push gains and what it costs, in nats a token.

The gain is by how much ln of the probability of the concept's tokens rises, where such tokens are given: in the texts
that are written with the push and without, as a push that works changes the text from its first token on. Otherwise it
is by how much mean ln p of the positive texts' own tokens rises. The price is KL(not steered
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
from ggufjac.network.texts import Influence, Reading, Sampling, goes_on, logits_of_texts
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

    spoken: texts whose own tokens' likelihood is the gain; prompt: what goes on, likeliest token by token, where the
    gain is that of the tokens `counted`; neutral: ordinary texts. ends: which tokens end a text.
    """

    def __init__(
        self,
        family: Family,
        spoken: Sequence[Sequence[int]],
        prompt: Sequence[int],
        counted: tuple[int, ...],
        neutral: Sequence[Sequence[int]],
        dtype: torch.dtype,
        *,
        n_ctx: int,
        device: str | torch.device = "cpu",
        memory: int | None = None,
        store: DeviceWeights | None = None,
        ends: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self._ends = ends
        self._family, self._dtype, self._n_ctx = family, dtype, n_ctx
        self._device, self._memory, self._store = device, memory, store
        self._counted = counted
        self._prompt, self._steps = list(prompt), max(1, min(POSITIONS, n_ctx - len(prompt)))
        self._spoken = [torch.tensor(list(ids[:LONGEST])) for ids in spoken[:TEXTS] if len(ids) > 1]
        self._neutral = [torch.tensor(list(ids[:LONGEST])) for ids in neutral[:TEXTS]]
        self._usual = [next(self._read(ids[None]))[0] for ids in self._neutral]
        (self._before,) = self._said(None, 1)

    @property
    def usual(self) -> Tensor:
        """How likely every token is in the ordinary texts, the mean over their positions: [n_vocab]."""
        return torch.stack([logits.softmax(-1).mean(0) for logits in self._usual]).mean(0)

    def of(self, pushes: Pushes, n: int) -> list[Effect]:
        """The effects of n pushes."""
        gains = [after - self._before for after in self._said(pushes, n)]
        return [Effect(*each) for each in zip(gains, self.prices(pushes, n), strict=True)]

    def prices(self, pushes: Pushes, n: int) -> list[float]:
        """What n pushes cost."""
        prices = torch.zeros(n, len(self._neutral), dtype=torch.float64)
        for i, (ids, usual) in enumerate(zip(self._neutral, self._usual, strict=True)):
            steered = (row for piece in self._read(ids.expand(n, -1), pushes) for row in piece)
            prices[:, i] = torch.tensor([kl_divergence(usual, row) for row in steered], dtype=torch.float64)
        found: list[float] = prices.mean(1).tolist()
        return found

    def _said(self, pushes: Pushes | None, n: int) -> list[float]:
        """What a gain is the rise of, for every push."""
        if self._counted:
            return self._written(pushes, n)
        said = torch.zeros(n, len(self._spoken), dtype=torch.float64)
        for k, ids in enumerate(self._spoken):
            rows = (row for piece in self._read(ids.expand(n, -1), pushes) for row in piece)
            for i, logits in enumerate(rows):
                ln_p = widened(logits[:-1]).log_softmax(-1)
                said[i, k] = ln_p.gather(-1, ids[1:, None].to(ln_p.device)).mean()
        found: list[float] = said.mean(1).tolist()
        return found

    def _written(self, pushes: Pushes | None, n: int) -> list[float]:
        """ln of the counted tokens' probability in the texts that are written, the mean over their steps."""
        reading = Reading(
            self._family,
            self._n_ctx,
            self._dtype,
            influence=None if pushes is None else pushes(slice(0, n)),
            device=self._device,
            memory=self._memory,
            store=self._store,
        )
        steps = list(goes_on(reading, [self._prompt] * n, self._steps, Sampling(), self._ends))
        said = torch.stack([mass(step.logits.cpu(), self._counted) for step in steps], 1)
        alive = torch.stack([step.alive for step in steps], 1)
        found: list[float] = (torch.where(alive, said, 0).sum(1) / alive.sum(1)).tolist()
        return found

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
