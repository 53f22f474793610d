"""The exchange of two coordinates of the stream, and texts that are read with it. The formulas: `lens.swap`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ggufjac.analyses.lens.vectors import unit
from ggufjac.network.texts import Reading
from ggufjac.operators import Bias, Identity, Operator, Parallel, Sequential
from ggufjac.operators.dense import Dot, Outer


class Swap:
    """Two directions [width] of the stream that leaves a block, at length 1; cosine: of the two."""

    def __init__(self, v_from: Tensor, v_to: Tensor) -> None:
        self._pair = torch.stack((unit(v_from.double().cpu()), unit(v_to.double().cpu())), 1)
        self._dual = torch.linalg.pinv(self._pair)
        self.cosine = float(self._pair[:, 0] @ self._pair[:, 1])

    def coordinates(self, h: Tensor) -> Tensor:
        """c of states h [..., width], [..., 2]."""
        found: Tensor = h.double().cpu() @ self._dual.mT
        return found

    def exchanging(self, state: Tensor, chosen: Tensor) -> Operator:
        """h + (c_to - c_from) (v_from - v_to) at those positions [R] of a state [..., R, width] that are chosen."""
        read = (self._dual[1] - self._dual[0]).to(state)
        write = (self._pair[:, 0] - self._pair[:, 1]).to(state)
        return Parallel((Identity(), Sequential((Dot(read), Outer(chosen.to(state)[:, None] * write)))))

    def holding(self, state: Tensor, chosen: Tensor) -> Operator:
        """Of states [2, R, width] the second one with the first one's coordinates, exchanged, at chosen positions."""
        plain, own = self.coordinates(state)
        added = torch.zeros_like(state)
        added[1] = (chosen[:, None] * (plain.flip(-1) - own) @ self._pair.mT).to(state)
        return Bias(added)


class Swapping:
    """Swaps behind some blocks while a text is read, from the position `start` on. An `Influence`.

    held: the text is the second of two, of which the first is left alone, and has its coordinates exchanged. met: by
    block the mean coordinates that were exchanged in what was read first.
    """

    def __init__(self, swaps: Mapping[int, Swap], start: int = 0, *, held: bool = False) -> None:
        self._swaps, self._start, self._held, self._n = swaps, start, held, 0
        self.met: dict[int, Tensor] = {}

    def advance(self, tokens: Tensor) -> None:
        self._n += tokens.shape[1]

    def edit(self, layer: int, state: Tensor) -> Operator | None:
        swap = self._swaps.get(layer)
        if swap is None:
            return None
        chosen = torch.arange(self._n - state.shape[-2], self._n) >= self._start
        if layer not in self.met:
            self.met[layer] = swap.coordinates(state[0, chosen.to(state.device)]).mean(0)
        return swap.holding(state, chosen) if self._held else swap.exchanging(state, chosen)


class BesideReading(Reading):
    """The reading of a text with the same one beside it that an influence leaves alone; what is read is the second."""

    def read(self, tokens: Tensor) -> Tensor:
        return super().read(tokens.expand(2, -1))[1:]
