"""The ordinary Jacobian of the same network at the same prompt: nothing detached, derivatives by autograd."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.autograd.forward_ad as dual
from torch import Tensor

from ggufjac.families import Family
from ggufjac.maps.linear import LinearMap
from ggufjac.network.forward import propagate, run_of
from ggufjac.quants.memory.budget import Budget
from ggufjac.quants.memory.store import DeviceWeights
from ggufjac.quants.memory.threads import kernels_first
from ggufjac.rules import PRESETS

#: Numbers that autograd keeps for each layer and position of a copy, in multiples of the stream's width; and how many
#: positions' scores weigh as much as one of these.
KEPT, SCORES = 48, 8


class OrdinaryMap(LinearMap):
    """dy/dx at the embeddings x [T, d] of the tokens; columns are handled as a batch of copies of the prompt.

    It has no constant, and does not reconstruct y. memory: bytes that the copies of a batch may take together (None: a
    quarter of what the device has), by a rough count. store: where the device of the inputs has the weights.
    """

    def __init__(
        self,
        family: Family,
        tokens: Sequence[int],
        inputs: Tensor,
        memory: int | None = None,
        store: DeviceWeights | None = None,
    ) -> None:
        self.family = family
        self._run = run_of(tokens, attached=True, rules=PRESETS["ordinary"], store=store)
        with torch.no_grad():
            output = propagate(family, self._run, inputs).output[0]
        super().__init__(inputs, (), output, Budget.on(inputs.device, memory))
        kept = family.n_layer * inputs.numel() * (KEPT + len(inputs) // SCORES) * inputs.element_size()
        self._copies = max(1, self.budget.map // kept)

    def _output(self, x: Tensor) -> Tensor:
        return propagate(self.family, self._run, x).output[..., 0, :]

    def matmat(self, x: Tensor) -> Tensor:
        """J x for every column: [n, T, d] -> [n, d], by forward-mode differentiation."""
        return self._in_batches(self._forward, x)

    def rmatmat(self, y: Tensor) -> Tensor:
        """J^T y for every column: [n, d] -> [n, T, d], by reverse-mode differentiation."""
        return self._in_batches(self._reverse, y)

    def surprise(self, token: int) -> Tensor:
        """The derivative of the logarithm of a token's probability by the final state y: [d]."""
        with torch.enable_grad():
            point = self.output.detach()[None].requires_grad_()
            _, logits = self.family.head.build(self._run, point)
            (gradient,) = torch.autograd.grad(logits[0].log_softmax(-1)[token], point)
        return gradient[0]

    def _forward(self, x: Tensor) -> Tensor:
        with dual.dual_level():
            point = dual.make_dual(self.inputs.expand_as(x).clone(), x)
            tangent: Tensor | None = dual.unpack_dual(self._output(point)).tangent
        if tangent is None:
            raise RuntimeError("the network's output does not depend on its input")
        return tangent

    def _reverse(self, y: Tensor) -> Tensor:
        with torch.enable_grad():
            point = self.inputs.expand(y.shape[0], *self.inputs.shape).clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self._output(point), point, y)
        return gradient

    def _in_batches(self, differentiate: Callable[[Tensor], Tensor], columns: Tensor) -> Tensor:
        with kernels_first():
            return torch.cat([differentiate(batch) for batch in columns.split(self._copies)])
