"""One text's maps from the stream that leaves any block to the one that leaves the last, before the output norm.

M_l[p', p] maps what leaves block l at position p to what leaves the last block at p' >= p. A lens reads with sums of
them over p' (Gurnee et al., arXiv 2607.15495): the mean over p of sum_p' M_l[p', p] is this text's Jacobian of block l.
One backward sweep, whose cotangents stand at all positions at once, gives it for all blocks; forwards, columns enter
where their block ends and share the sweep above it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from ggufjac.maps import sweeps
from ggufjac.maps.network import NetworkMap
from ggufjac.network.forward import ForwardPass
from ggufjac.operators import Operator
from ggufjac.operators.span import span
from ggufjac.quants.memory.budget import Budget, columns_within
from ggufjac.quants.memory.precision import all_digits
from ggufjac.quants.memory.readahead import Readahead
from ggufjac.quants.memory.threads import kernels_first

#: From states [n, width] to columns [n, S, width] at the positions of the span.
Placed = Callable[[Tensor, Sequence[int]], Tensor]


class TextStreams(NetworkMap):
    """The maps from the streams of a text, at its positions from `start` on, S of them.

    tokens [T]; forward_pass: a pass that keeps all positions. A block is meant by its number, from 0, and its stream is
    what leaves it; widths: of each, the last one's included.
    """

    def __init__(
        self,
        tokens: tuple[int, ...],
        start: int,
        forward_pass: ForwardPass,
        budget: Budget | None = None,
        blocks: torch.dtype | None = None,
    ) -> None:
        states = forward_pass.states
        super().__init__(states[0], forward_pass.layers, states[-1].shape[-1], budget, blocks)
        self._of(tokens, forward_pass)
        self.start = start
        self.widths = tuple(state.shape[-1] for state in states[1:])

    @property
    def n_layer(self) -> int:
        return len(self.widths)

    @property
    def n_positions(self) -> int:
        """S"""
        return len(self.tokens) - self.start

    def stream(self, layer: int) -> Tensor:
        """What leaves a block at the positions of the span, [S, width]."""
        return self.forward_pass.states[layer + 1][self.start :]

    def written(self) -> Iterator[Tensor]:
        """What the text's own vectors write behind every block, without the constants: [T, width], block by block.

        The maps' positions must be all of the text's (start 0).
        """
        x = self.inputs.to(self._inside)[None]
        with self._threads(), Readahead() as ahead:
            for op in sweeps.visited(self.operators, ahead):
                x = sweeps.through(op, x, None, self.room, owned=False, passed=self.passed)
                yield x[0].to(self.dtype)

    # --- backwards --------------------------------------------------------------------------------------------

    def jacobians(self, layers: Sequence[int]) -> dict[int, Tensor]:
        """The mean over positions p of sum_p' M_l[p', p] for every block l of `layers`, [width of the last, width].

        One sweep of as many columns as the last stream is wide, in pieces if need be. The last block's is the identity.
        """
        below = [layer for layer in layers if layer < self.n_layer - 1]
        widths = [self.widths[layer] for layer in below]
        d = self.shape[0]
        found = {self.n_layer - 1: torch.eye(d, dtype=self.dtype)} if self.n_layer - 1 in layers else {}
        if below:
            whole = self._chunked_rows(d, below, sum(widths))
            found |= dict(zip(below, whole.split(widths, -1), strict=True))
        return {layer: found[layer] for layer in layers}

    def pulled(self, functionals: Tensor, layers: Sequence[int]) -> dict[int, Tensor]:
        """Functionals [n, width of the last] of the last stream, at all positions at once, as each block's stream sees
        them: the mean over positions p of sum_p' M_l[p', p]^T f, [n, width], by block.

        What the transposed Jacobians make of them, without the Jacobians: one sweep of n columns.
        """
        f = functionals.to(self.inputs)
        found = {self.n_layer - 1: f} if self.n_layer - 1 in layers else {}
        below = [layer for layer in layers if layer < self.n_layer - 1]
        if below:
            g = f[:, None].expand(-1, self.n_positions, -1).to(self._inside).contiguous()
            found |= dict(self._descend(g, below))
        return found

    def _chunked_rows(self, d: int, below: Sequence[int], total: int) -> Tensor:
        def sweep(piece: slice) -> Tensor:
            rows = range(d)[piece]
            g = self.inputs.new_zeros(len(rows), self.n_positions, d, dtype=self._inside)
            g[range(len(rows)), :, rows] = 1
            means = dict(self._descend(g, below))
            return torch.cat([means[layer] for layer in below], -1)

        return self._chunked(d, sweep, (total,))

    def _descend(self, g: Tensor, below: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """The mean over positions of what cotangents g [n, S, d] of the last stream become in each block's."""
        down = self.operators[: min(below) : -1]
        with self._threads(), Readahead() as ahead:
            for at, op in enumerate(sweeps.visited(down, ahead)):
                layer = self.n_layer - 2 - at
                g = sweeps.back_through(self._spanned(op), g, self.room, owned=True, passed=self.passed)
                if layer in below:
                    yield layer, g.to(self.dtype).mean(-2)

    # --- forwards ---------------------------------------------------------------------------------------------

    def transported(self, states: Mapping[int, Tensor], placed: Placed | None = None) -> dict[int, Tensor]:
        """sum_p' (M_l x)[p'] for columns x of every block l: states {l: [n, width]} -> {l: [n, width of the last]}.

        placed: makes columns [n, S, width] of some of the states of a block, given with their numbers; None: a state at
        every position, divided by their number, so that the result is the text's Jacobian times the state.
        """
        order = sorted((layer, i) for layer, h in states.items() for i in range(len(h)))
        found = {
            layer: h.new_empty(len(h), self.shape[0], dtype=self.dtype, device=self.device)
            for layer, h in states.items()
        }
        widest = max([*self.widths, self.inputs.shape[-1]])
        step = columns_within(self.room, self.n_positions * widest * self.inputs.element_size())
        for at in range(0, len(order), step):
            piece = order[at : at + step]
            entering = {layer: [i for other, i in piece if other == layer] for layer, _ in piece}
            sums = self._climb(states, entering, placed or self._everywhere)
            for (layer, i), row in zip(piece, sums, strict=True):
                found[layer][i] = row
        return found

    def _climb(self, states: Mapping[int, Tensor], entering: Mapping[int, list[int]], placed: Placed) -> Tensor:
        """The columns of all blocks, in ascending order, [n, width of the last]."""
        x: Tensor | None = None
        lowest = min(entering)
        with self._threads(), Readahead() as ahead:
            above = sweeps.visited(self.operators[lowest + 1 :], ahead)
            for layer in range(lowest, self.n_layer):
                if layer > lowest:
                    assert x is not None
                    op = self._spanned(next(above))
                    x = sweeps.through(op, x, None, self.room, owned=True, passed=self.passed)
                if layer in entering:
                    here = states[layer][entering[layer]].to(self.inputs)
                    columns = placed(here, entering[layer]).to(self._inside)
                    x = columns if x is None else torch.cat((x, columns))
        assert x is not None
        sums: Tensor = x.to(self.dtype).sum(-2)
        return sums

    def _everywhere(self, h: Tensor, _: Sequence[int]) -> Tensor:
        n = self.n_positions
        return (h / n)[:, None].expand(-1, n, -1).contiguous()

    def _threads(self) -> AbstractContextManager[None]:
        """Rounded blocks are multiplied by torch, on all of its threads, others by the kernels."""
        return all_digits() if self._inside == torch.bfloat16 else kernels_first()

    def _spanned(self, op: Operator) -> Operator:
        return span(op, self.start, len(self.tokens), len(self.tokens))
