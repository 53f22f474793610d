"""Autograd as the judge of linear maps: the output of the same network, differentiated by the same rules."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ggufjac.families import Family
from ggufjac.network.forward import propagate, run_of
from ggufjac.rules import DETACHED, Rules


def pulled_back(family: Family, ids: Sequence[int], inputs: Tensor, y: Tensor, rules: Rules = DETACHED) -> Tensor:
    """J^T y at the inputs [T, d] for every column of y [n, d], on copies of the prompt: [n, T, d]."""
    x = inputs.expand(len(y), *inputs.shape).clone().requires_grad_()
    output = propagate(family, run_of(ids, attached=True, rules=rules), x).output[..., 0, :]
    (gradient,) = torch.autograd.grad(output, x, y)
    return gradient
