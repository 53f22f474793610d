"""Operators that act on each position alone, without a weight matrix."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally


class Scale(Operator):
    """y = s * x with s broadcast against [..., T, n]: a frozen norm, gate or ratio."""

    def __init__(self, s: Tensor) -> None:
        self.s = s

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return x * self.s

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return g * self.s


class Center(Operator):
    """y = x - mean(x) over the last dimension: the linear part of a LayerNorm. Its own transpose.

    groups: so many equal parts of the last dimension have a mean each.
    """

    def __init__(self, groups: int = 1) -> None:
        self.groups = groups

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        parts: Tensor = x.unflatten(-1, (self.groups, -1))
        return (parts - parts.mean(-1, keepdim=True)).flatten(-2)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return self.apply(g)


class Bias(Operator):
    """y = x + one * b with b [n] or [T, n]: everything that is added and does not come from the tokens' vectors.

    name: what it is called where constants are told apart; the tensor's own name, if it is one of the file's.
    """

    def __init__(self, b: Tensor, name: str = "constant") -> None:
        self.b = b
        self.name = name

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return x if one is None else x + one * self.b

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        if tally is not None:
            tally(self.name, (g * self.b).sum(-1))
        return g

    @property
    def affine(self) -> bool:
        return True


class Select(Operator):
    """y = x at some positions only; in the last layer nothing else is needed. device: where the blocks are."""

    def __init__(self, positions: Sequence[int], n_positions: int, device: torch.device | None = None) -> None:
        self.positions = torch.as_tensor(list(positions), dtype=torch.long, device=device)
        self.n_positions = n_positions

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return x.index_select(-2, self.positions.to(x.device))

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        full = g.new_zeros(*g.shape[:-2], self.n_positions, g.shape[-1])
        return full.index_add(-2, self.positions.to(g.device), g)
