"""The linear maps of one text at several of its positions: from one pass, swept together.

What a model says at position p depends on the vectors up to p alone. So the maps at all positions share their
coefficients, and functionals of the states at different positions are columns of one sweep: each begins at its own
position, and reaches back from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from ggufjac.maps import sweeps
from ggufjac.maps.swept import FEW_GROUPS, SweptMap
from ggufjac.network.forward import ForwardPass
from ggufjac.operators.walk import coefficient_bytes
from ggufjac.quants.memory.budget import Budget
from ggufjac.quants.memory.store import DeviceWeights
from ggufjac.rules import Rules


class TextMap(SweptMap):
    """y_p = sum_t J_pt x_t + c_p for positions p of one text, with J_pt = 0 for t > p.

    tokens [T]; inputs x [T, d], the vectors that enter block 0; positions [R], in ascending order; outputs y [R, d],
    the final states there; logits [R, n_vocab], on the CPU, of what comes next. forward_pass: where the coefficients
    come from.
    """

    def __init__(
        self,
        tokens: tuple[int, ...],
        positions: Sequence[int],
        forward_pass: ForwardPass,
        budget: Budget | None = None,
        blocks: torch.dtype | None = None,
    ) -> None:
        outputs = forward_pass.output
        super().__init__(
            forward_pass.states[0], (*forward_pass.layers, forward_pass.final), outputs.shape[-1], budget, blocks
        )
        self.tokens = tokens
        self.positions = tuple(positions)
        self.forward_pass = forward_pass
        self.outputs = outputs
        self.logits = forward_pass.logits.cpu()
        self.head = forward_pass.head

    @property
    def store(self) -> DeviceWeights | None:
        """Where a device has the weights; None on the CPU, which has the file."""
        return self.forward_pass.run.store

    def _stores(self) -> list[DeviceWeights]:
        return super()._stores() if self.store is None else [self.store]

    @property
    def rules(self) -> Rules:
        """By which the network was linearised."""
        return self.forward_pass.run.rules

    @property
    def held_bytes(self) -> int:
        """Memory that the map takes between products."""
        return coefficient_bytes(self.operators) + self.forward_pass.states_bytes

    @cached_property
    def constants(self) -> Tensor:
        """c [R, d]: what the network's constants contribute to every output."""
        if not any(op.affine for op in self.operators):
            return torch.zeros_like(self.outputs)
        zero = self.inputs.new_zeros(1, *self.inputs.shape)
        return sweeps.forward(self.operators, zero.to(self._inside), 1.0, self.room)[0].to(self.dtype)

    def functionals(self, of_logits: Tensor) -> tuple[Tensor, Tensor]:
        """w [R, d] and b [R] float64: sums of the logits with weights of every position's own, of_logits [R, n_vocab],
        are w_p . y_p + b_p. (What they are under rules that differentiate a bent head: as `DetachedMap.functional`.)"""
        offsets = torch.zeros(len(self.positions), dtype=torch.float64)

        def told(_: str, worth: Tensor) -> None:
            offsets.add_(worth[0].cpu().double())

        w = self.head.adjoint(of_logits.to(self.inputs)[None], told)
        return w[0], offsets

    def rmatmat(self, y: Tensor, at: Sequence[int]) -> Tensor:
        """J_pt^T y for every token t and column of y [m, d], whose p is positions[at[i]]: [m, T, d]."""
        d, n_tokens, d_in = self.shape
        self._expect(y, (d,))
        return self._swept(y, at, (n_tokens, d_in), lambda g: g)

    def attribute(self, functionals: Tensor, at: Sequence[int]) -> Tensor:
        """f . J_pt x_t for every functional f [m, d] and every token, f . c_p last: [m, T + 1]; at: as in `rmatmat`.

        One backward sweep of m columns, each from its position down.
        """
        self._expect(functionals, (self.shape[0],))
        tokens = self._swept(functionals, at, (self.shape[1],), lambda g: torch.einsum("mtd,td->mt", g, self.inputs))
        constants = (functionals * self.constants[list(at)]).sum(-1, keepdim=True)
        return torch.cat((tokens, constants), 1)

    def _swept(self, y: Tensor, at: Sequence[int], shape: tuple[int, ...], of: Callable[[Tensor], Tensor]) -> Tensor:
        """What `of` makes [m, *shape] of the columns y [m, d] once they have come down [m, T, d]."""
        order = sorted(range(len(at)), key=at.__getitem__)  # columns that end alike lie together
        rows = [at[i] for i in order]
        ends = [self.positions[row] + 1 for row in rows]
        columns = y[order]

        def sweep(piece: slice) -> Tensor:
            mine = rows[piece]
            g = columns.new_zeros(len(mine), len(self.positions), self.shape[0], dtype=self._inside)
            g[range(len(mine)), mine] = columns[piece].to(self._inside)
            # what leaves out positions comes last
            g = sweeps.backward(self.operators[-2:], g, self.room, passed=self.passed)
            return of(sweeps.backward(self.operators[:-2], g, self.room, ends[piece], self.passed).to(self.dtype))

        found = self._chunked(len(y), sweep, shape)
        return found[torch.tensor(order).argsort()]

    def reconstruction_error(self) -> float:
        """The largest ||sum_t J_pt x_t + c_p - y_p|| / ||y_p|| of all positions p, with tokens dealt out among a few
        columns; one sweep serves all of them."""

        def sweep(piece: slice) -> Tensor:
            y = sweeps.forward(self.operators, dealt[piece].to(self._inside), None, self.room, self.passed)
            return y.to(self.dtype)

        dealt = self._dealt(FEW_GROUPS)
        made = self._chunked(len(dealt), sweep, tuple(self.outputs.shape)).sum(0) + self.constants
        return float(((made - self.outputs).norm(dim=-1) / self.outputs.norm(dim=-1)).max())
