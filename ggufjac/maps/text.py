"""The linear maps of one text at several of its positions: from one pass, swept together.

What a model says at position p depends on the vectors up to p alone. So the maps at all positions share their
coefficients, and functionals of the states at different positions are columns of one sweep: each begins at its own
position, and reaches back from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from ggufjac.maps import sweeps
from ggufjac.maps.network import NetworkMap
from ggufjac.maps.swept import FEW_GROUPS, relative_error
from ggufjac.network.forward import ForwardPass
from ggufjac.quants.memory.budget import Budget


class TextMap(NetworkMap):
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
        self._of(tokens, forward_pass)
        self.positions = tuple(positions)
        self.outputs = outputs
        self.logits = forward_pass.logits.cpu()

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

    def attribute(self, functionals: Tensor, at: Sequence[int]) -> Tensor:
        """f . J_pt x_t for every functional f [m, d] and every token, f . c_p last: [m, T + 1]; functional i is of the
        state at positions[at[i]].

        One backward sweep of m columns, each from its position down.
        """
        self._expect(functionals, (self.shape[0],))
        tokens = self._terms(functionals, at)
        constants = (functionals * self.constants[list(at)]).sum(-1, keepdim=True)
        return torch.cat((tokens, constants), 1)

    def _terms(self, functionals: Tensor, at: Sequence[int]) -> Tensor:
        """[m, T]: the tokens' terms."""
        order = sorted(range(len(at)), key=at.__getitem__)  # columns that end alike lie together
        rows = [at[i] for i in order]
        ends = [self.positions[row] + 1 for row in rows]
        columns = functionals[order]

        def sweep(piece: slice) -> Tensor:
            mine = rows[piece]
            g = columns.new_zeros(len(mine), len(self.positions), self.shape[0], dtype=self._inside)
            g[range(len(mine)), mine] = columns[piece].to(self._inside)
            # what leaves out positions comes last
            g = sweeps.backward(self.operators[-2:], g, self.room, passed=self.passed)
            g = sweeps.backward(self.operators[:-2], g, self.room, ends[piece], self.passed).to(self.dtype)
            return torch.einsum("mtd,td->mt", g, self.inputs)

        found = self._chunked(len(at), sweep, (self.shape[1],))
        return found[torch.tensor(order).argsort()]

    def reconstruction_error(self) -> float:
        """The largest ||sum_t J_pt x_t + c_p - y_p|| / ||y_p|| of all positions p, with tokens dealt out among a few
        columns; one sweep serves all of them."""

        def sweep(piece: slice) -> Tensor:
            y = sweeps.forward(self.operators, dealt[piece].to(self._inside), None, self.room, self.passed)
            return y.to(self.dtype)

        dealt = self._dealt(FEW_GROUPS)
        made = self._chunked(len(dealt), sweep, tuple(self.outputs.shape)).sum(0) + self.constants
        return float(relative_error(made, self.outputs).max())
