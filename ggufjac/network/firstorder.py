"""What a small change of the weights does to a number, from one sweep back through the network.

A matrix W acts on a text where it multiplies: y_t = W x_t. If W becomes W + D, a number f of the output moves to first
order by the sum over the positions of <df/dy_t, D x_t>, so that one derivative with respect to all products' outputs,
at the values that the unchanged weights give, serves all matrices. What the rest of the change does (its square, and
what two matrices do together) is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
from torch import Tensor

from ggufjac.families.parts import Run
from ggufjac.network.forward import propagate, run_of
from ggufjac.network.tensorwise import Hybrids
from ggufjac.network.texts import embedded
from ggufjac.operators import Operator
from ggufjac.quants import products
from ggufjac.quants.tensor import QuantTensor
from ggufjac.rules import PRESETS

#: From the logits [T', n_vocab] to numbers, one tensor without dimensions for each.
Numbers: TypeAlias = "Callable[[Tensor], Sequence[Tensor]]"


@dataclass(frozen=True)
class TracedRun(Run):
    """A run that notes of every product its weight, what entered and what left."""

    traced: list[tuple[QuantTensor, Tensor, Tensor]] = field(default_factory=list)

    def product(self, weight: QuantTensor, x: Tensor) -> tuple[Operator, Tensor]:
        op, y = super().product(weight, x)
        self.traced.append((weight, x.detach(), y))
        return op, y


def first_order(
    hybrids: Hybrids,
    ids: Sequence[int],
    rows: tuple[int, ...],
    numbers: Numbers,
    dtype: torch.dtype,
    where: torch.device,
) -> Tensor:
    """By how much the numbers of a text's logits at these positions move to first order when each tensor is swapped:
    [names, numbers] float64; NaN for a tensor that acts otherwise than by products and as the tokens' vectors.
    """
    family, plain = hybrids.one, run_of(ids)
    run = TracedRun(plain.tokens, plain.positions, plain.n_ctx, attached=True, rules=PRESETS["ordinary"])
    with torch.enable_grad():
        x = embedded(family, run.tokens, dtype).to(where).requires_grad_()
        followed = numbers(propagate(family, run, x, rows=rows).logits)
        outputs = [x, *(y for _, _, y in run.traced)]
        slopes = [torch.autograd.grad(f, outputs, retain_graph=True, allow_unused=True) for f in followed]
    found = torch.zeros(len(hybrids.names), len(followed), dtype=torch.float64)
    number = {name: i for i, name in enumerate(hybrids.names)}
    covered = dict.fromkeys(hybrids.names, 0)
    with torch.no_grad():
        for k, (weight, entered, left) in enumerate(run.traced, 1):
            if weight.name not in number:
                continue
            change = products.apply(_other(hybrids, weight), entered) - left
            covered[weight.name] += weight.n_out
            found[number[weight.name]] += _along([slope[k] for slope in slopes], change)
        for name in hybrids.names:
            if hybrids.layers[name] < 0:
                moved = embedded(hybrids.mixed([name]), run.tokens, dtype).to(where) - x.detach()
                found[number[name]] += _along([slope[0] for slope in slopes], moved)
                covered[name] += bool(moved.any()) * hybrids.one.source.file.tensors[name].rows
    for name, rows_met in covered.items():
        info = hybrids.one.source.file.tensors[name]
        if not rows_met or (len(info.plain_shape) == 2 and rows_met < info.rows):  # experts that no token chose are 0
            found[number[name]] = math.nan
    return found


def _other(hybrids: Hybrids, weight: QuantTensor) -> QuantTensor:
    """The same rows in the other file."""
    file = hybrids.other.source.file
    data = file.data(weight.name)[weight.first : weight.first + weight.n_out]
    return replace(weight, type=file.tensors[weight.name].type, data=data, pages=None)


def _along(slopes: Sequence[Tensor | None], change: Tensor) -> Tensor:
    """<slope, change> for each of the numbers, [numbers] float64; None: it does not depend on it."""
    return torch.tensor([0.0 if g is None else float((g.double() * change.double()).sum()) for g in slopes])
