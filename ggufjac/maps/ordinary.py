"""The ordinary Jacobian of the same network at the same prompt: nothing detached, derivatives by autograd."""

from __future__ import annotations

import torch
import torch.autograd.forward_ad as dual
from torch import Tensor

from ggufjac.families import Family
from ggufjac.maps.passes import propagate, run_of


class OrdinaryMap:
    """dy/dx at the prompt's embeddings x [T, d]; columns are handled as a batch of copies of the prompt."""

    def __init__(self, family: Family, inputs: Tensor) -> None:
        self.family = family
        self.inputs = inputs
        self._run = run_of(inputs.shape[0], detached=False)

    def _output(self, x: Tensor) -> Tensor:
        return propagate(self.family, self._run, x).output[..., 0, :]

    def matmat(self, x: Tensor) -> Tensor:
        """J x for every column: [n, T, d] -> [n, d], by forward-mode differentiation."""
        with dual.dual_level():
            point = dual.make_dual(self.inputs.expand_as(x).clone(), x)
            tangent: Tensor | None = dual.unpack_dual(self._output(point)).tangent
        if tangent is None:
            raise RuntimeError("the network's output does not depend on its input")
        return tangent

    def rmatmat(self, y: Tensor) -> Tensor:
        """J^T y for every column: [n, d] -> [n, T, d], by reverse-mode differentiation."""
        with torch.enable_grad():
            point = self.inputs.expand(y.shape[0], *self.inputs.shape).clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self._output(point), point, y)
        return gradient

    def reconstruction_error(self, output: Tensor) -> float:
        """||sum_t J_t x_t - y|| / ||y||: how far the ordinary Jacobian is from reproducing y [d]."""
        return float((self.matmat(self.inputs[None])[0] - output).norm() / output.norm())
