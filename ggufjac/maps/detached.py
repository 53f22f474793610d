"""The linear map of one prompt: the whole network as a linear operator, with its analyses' raw material."""

from __future__ import annotations

import torch
from torch import Tensor

from ggufjac.maps.linear import LinearMap
from ggufjac.maps.network import NetworkMap
from ggufjac.network.forward import ForwardPass
from ggufjac.quants.memory.budget import Budget


class DetachedMap(NetworkMap, LinearMap):
    """sum_t J_t x_t + c for one prompt: from the embeddings to the final state y after the output norm.

    Under rules that reconstruct, the detached ones among them, it is y. tokens [T]; inputs x [T, d], the vectors that
    enter block 0; output y [d]; logits [n_vocab]; forward_pass: where the coefficients come from, with the states
    between the blocks.
    """

    def __init__(
        self,
        tokens: tuple[int, ...],
        forward_pass: ForwardPass,
        budget: Budget | None = None,
        blocks: torch.dtype | None = None,
    ) -> None:
        LinearMap.__init__(
            self,
            forward_pass.states[0],
            (*forward_pass.layers, forward_pass.final),
            forward_pass.output[0],
            budget,
            blocks,
        )
        self._of(tokens, forward_pass)
        self.logits = forward_pass.logits[0].cpu()

    def surprise(self, token: int) -> Tensor:
        """The derivative of the logarithm of a token's probability by the final state y, by the rules: [d]."""
        of_logits = -self.logits.softmax(-1)
        of_logits[token] += 1
        return self.functional(of_logits)[0]

    def logit_functional(self, token: int) -> tuple[Tensor, float]:
        """(w, b): the logit of a token is w . y + b, with w [d], as in `functional`."""
        unit = self.inputs.new_zeros(self.logits.shape[0])
        unit[token] = 1
        return self.functional(unit)

    def functional(self, of_logits: Tensor) -> tuple[Tensor, float]:
        """(w, b): the sum of the logits with the weights `of_logits` [n_vocab] is w . y + b, with w [d].

        Where the rules say "tangent" of activations and the head bends its logits, it is their derivative alone.
        """
        offsets: list[float] = []
        w = self.head.adjoint(
            of_logits.to(self.inputs)[None, None], lambda _, worth: offsets.append(float(worth.sum()))
        )
        return w[0, 0], sum(offsets)
