"""The detached map of one prompt: the whole network as a linear operator, with its analyses' raw material."""

from __future__ import annotations

import torch
from torch import Tensor

from ggufjac.maps.linear import LinearMap
from ggufjac.network.forward import ForwardPass
from ggufjac.quants.memory.budget import Budget
from ggufjac.quants.memory.store import DeviceWeights


class DetachedMap(LinearMap):
    """y = sum_t J_t x_t + c for one prompt: from the embeddings to the final state after the output norm.

    tokens [T]; inputs x [T, d], the vectors that enter block 0; output y [d]; logits [n_vocab]; forward_pass: where the
    coefficients come from, with the states between the blocks.
    """

    def __init__(
        self,
        tokens: tuple[int, ...],
        forward_pass: ForwardPass,
        budget: Budget | None = None,
        blocks: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            forward_pass.states[0], (*forward_pass.layers, forward_pass.final), forward_pass.output[0], budget, blocks
        )
        self.tokens = tokens
        self.forward_pass = forward_pass
        self.logits = forward_pass.logits[0].cpu()
        self.head = forward_pass.head

    @property
    def store(self) -> DeviceWeights | None:
        """Where a device has the weights; None on the CPU, which has the file."""
        return self.forward_pass.run.store

    def _stores(self) -> list[DeviceWeights]:
        # that of operators which are made anew for every sweep is not seen in them
        return super()._stores() if self.store is None else [self.store]

    def logit_functional(self, token: int) -> tuple[Tensor, float]:
        """(w, b): the logit of a token is w . y + b, with w [d]; whatever the head scales by is frozen into w."""
        unit = self.inputs.new_zeros(self.logits.shape[0])
        unit[token] = 1
        return self.functional(unit)

    def functional(self, of_logits: Tensor) -> tuple[Tensor, float]:
        """(w, b): the sum of the logits with the weights `of_logits` [n_vocab] is w . y + b, with w [d]."""
        offsets: list[float] = []
        w = self.head.adjoint(
            of_logits.to(self.inputs)[None, None], lambda _, worth: offsets.append(float(worth.sum()))
        )
        return w[0, 0], sum(offsets)
