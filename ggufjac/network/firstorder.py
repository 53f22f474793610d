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
from ggufjac.network.forward import build, run_of
from ggufjac.network.tensorwise import Hybrids
from ggufjac.network.texts import embedded
from ggufjac.operators import Operator
from ggufjac.quants import products
from ggufjac.quants.memory.threads import kernels_first
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

    The values of one layer at a time are kept for the way back.
    """
    family, plain = hybrids.one, run_of(ids)
    found = _Found(hybrids)
    run = TracedRun(plain.tokens, plain.positions, plain.n_ctx, attached=True, rules=PRESETS["ordinary"])
    at = [plain.at(i, rows if i == family.n_layer - 1 else None) for i in range(family.n_layer)]
    with torch.no_grad(), kernels_first():
        states, left = [embedded(family, plain.tokens, dtype).to(where)], []
        for layer, here in zip(family.layers, at, strict=True):
            left.append(dict(plain.shared))
            states.append(build(layer, here, states[-1])[1])
        with torch.enable_grad():
            x = states[-1].requires_grad_()
            followed = numbers(family.head.value(run, family.output_norm.value(run, x)))
        changes = found.changes(run)
        slopes = [found.back(run, changes, [f], [None], [x], k) for k, f in enumerate(followed)]
        gs, shared = [g[0] for g in slopes], [dict[str, Tensor]() for _ in slopes]
        for i in reversed(range(family.n_layer)):
            states.pop()
            before = {name: _leaf(value) for name, value in left[i].items()}
            here = replace(run, layer=i, rows=at[i].rows, shared=dict(before), traced=[])
            with torch.enable_grad():
                x = states[-1].requires_grad_()
                y = build(family.layers[i], here, x)[1]
            made = {n: v for n, v in here.shared.items() if v is not before.get(n) and v.requires_grad}
            known = {n: v for n, v in before.items() if v.requires_grad}
            changes = found.changes(here)
            for k in range(len(followed)):
                used = {n: v for n, v in made.items() if n in shared[k]}
                outputs, cotangents = [y, *used.values()], [gs[k], *(shared[k][n] for n in used)]
                gs[k], *others = found.back(here, changes, outputs, cotangents, [x, *known.values()], k)
                passed = {n: g for n, g in shared[k].items() if here.shared[n] is before.get(n)}
                for n, g in zip(known, others, strict=True):
                    passed[n] = passed[n] + g if n in passed else g
                shared[k] = passed
        found.embedded(states[0].detach(), gs, plain.tokens)
    return found.terms(len(followed))


def _leaf(value: Tensor) -> Tensor:
    """What a layer left for later ones, as an input of theirs."""
    return value.detach().requires_grad_() if value.is_floating_point() else value


class _Found:
    """The terms so far, by tensor and number; covered: how many rows of a tensor products have met."""

    def __init__(self, hybrids: Hybrids) -> None:
        self._hybrids = hybrids
        self._terms = {name: dict[int, float]() for name in hybrids.names}
        self._covered = {name: dict[int, int]() for name in hybrids.names}

    def changes(self, run: TracedRun) -> list[Tensor | None]:
        """By how much each product's output changes with the other file's weight; None where that is the same."""
        return [
            products.apply(_other(self._hybrids, weight), entered) - y.detach() if weight.name in self._terms else None
            for weight, entered, y in run.traced
        ]

    def back(
        self,
        run: TracedRun,
        changes: Sequence[Tensor | None],
        outputs: list[Tensor],
        cotangents: Sequence[Tensor | None],
        inputs: list[Tensor],
        k: int,
    ) -> list[Tensor]:
        """The derivatives of number k with respect to the inputs of a part of the network, from those with respect to
        its outputs; the products on the way are met."""
        wrt = [*inputs, *(y for _, _, y in run.traced)]
        slopes = torch.autograd.grad(outputs, wrt, cotangents, retain_graph=True, allow_unused=True)
        for (weight, _, _), change, slope in zip(run.traced, changes, slopes[len(inputs) :], strict=True):
            if change is not None:
                self._add(weight.name, k, slope, change, weight.n_out)
        return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, slopes, strict=False)]

    def embedded(self, x: Tensor, gs: Sequence[Tensor], tokens: Tensor) -> None:
        """The tensors that are read before the layers; x: the tokens' vectors, gs: the derivatives there."""
        for name in self._terms:
            if self._hybrids.layers[name] < 0:
                moved = embedded(self._hybrids.mixed([name]), tokens, x.dtype).to(x.device) - x
                rows = bool(moved.any()) * self._hybrids.one.source.file.tensors[name].rows
                for k, g in enumerate(gs):
                    self._add(name, k, g, moved, rows)

    def terms(self, n: int) -> Tensor:
        """[names, n]."""
        return torch.tensor(
            [[self._term(name, k) for k in range(n)] for name in self._hybrids.names], dtype=torch.float64
        ).reshape(-1, n)

    def _add(self, name: str, k: int, slope: Tensor | None, change: Tensor, rows: int) -> None:
        term = 0.0 if slope is None else float((slope.double() * change.double()).sum())
        self._terms[name][k] = self._terms[name].get(k, 0.0) + term
        self._covered[name][k] = self._covered[name].get(k, 0) + rows

    def _term(self, name: str, k: int) -> float:
        info, rows = self._hybrids.one.source.file.tensors[name], self._covered[name].get(k, 0)
        whole = len(info.plain_shape) != 2 or rows >= info.rows  # experts that no token chose are 0
        return self._terms[name][k] if rows and whole else math.nan


def _other(hybrids: Hybrids, weight: QuantTensor) -> QuantTensor:
    """The same rows in the other file."""
    file = hybrids.other.source.file
    data = file.data(weight.name)[weight.first : weight.first + weight.n_out]
    return replace(weight, type=file.tensors[weight.name].type, data=data, pages=None)
