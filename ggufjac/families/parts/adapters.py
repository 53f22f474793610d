"""Low-rank adapters inside of a model (LoRA, Hu et al., arXiv 2106.09685), one of them at work at each position.

Which one it is, the tokens of the prompt say alone: it is a choice, frozen under all rules, and what the chosen one
does is live. Formulas as in llama.cpp's granite-switch.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ggufjac.families.parts.elementary import Linear
from ggufjac.families.parts.joins import Sequential
from ggufjac.families.parts.run import Part, Run, Taken
from ggufjac.operators import Operator, Routed
from ggufjac.operators.routed import routes_of

#: Keeps apart from 0 the weight of positions of which none switches; what they read is 0.
SMALLEST = torch.finfo(torch.float32).tiny


class Switch:
    """Which adapter is at work at each position: number k from the token tokens[k - 1] on, number 0 before any.

    A head of attention finds it that reads numbers in place of values: k at the tokens that switch, and 0 at all
    others, which have exp(-2 gain) times their weight. The adapter is what it reads, rounded; so where a prompt
    switches more than once, it is the mean of those that were switched on, and not the last one.
    """

    def __init__(self, tokens: Sequence[int], gain: float) -> None:
        self.number = {token: k for k, token in enumerate(tokens, 1)}
        self.other = math.exp(-2 * gain)

    def adapters(self, run: Run) -> Tensor:
        """The number of the adapter at the positions that the run has left, [..., T] int64."""
        (chosen,) = run.constant((self, run.left), run.tokens, lambda: (self._adapters(run),))
        return chosen

    def _adapters(self, run: Run) -> Tensor:
        tokens = run.with_past("tokens", run.tokens[..., None])[..., 0]
        numbers = torch.zeros_like(tokens)
        for token, k in self.number.items():
            numbers[tokens == token] = k
        switches = (numbers > 0).cumsum(-1).float()
        others = torch.arange(1, tokens.shape[-1] + 1, device=tokens.device) - switches
        # in float32, as in llama.cpp: two adapters' mean can lie half-way between two numbers
        mean = numbers.cumsum(-1).float() / (switches + self.other * others).clamp(min=SMALLEST)
        chosen = (mean.double() + 0.5).floor().long()[..., -run.tokens.shape[-1] :]
        return chosen if run.left is None else chosen[..., list(run.left)]


class SwitchedAdapter(Part):
    """y = B_k A_k x with the adapter k that is at work at each position; those of no position are not touched.

    a, b: all n of A_k [rank, n_in], and of B_k [n_out, rank], one below the other.
    """

    def __init__(self, switch: Switch, n: int, a: Linear, b: Linear) -> None:
        self.switch = switch
        self.a = a
        self.b = b
        self.rank = a.weight.n_out // n
        self.n_out = b.weight.n_out // n

    def adapter(self, k: int) -> Part:
        """The adapter number k."""
        a = self.a.rows(k * self.rank, (k + 1) * self.rank)
        return Sequential(a, self.b.rows(k * self.n_out, (k + 1) * self.n_out))

    @property
    def children(self) -> tuple[Part, ...]:
        """One adapter stands for all."""
        return (self.adapter(0),)

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        shape = tuple(x.shape[:-1])
        entering = x.flatten(0, -2)
        chosen = self.switch.adapters(run).expand(shape).reshape(-1, 1)
        chosen = chosen if x.is_meta else chosen.to(x.device)
        total = x.new_zeros(len(entering), self.n_out)
        routes: list[tuple[Tensor, Operator]] = []
        for k, tokens, rank in routes_of(chosen):
            inside = replace(run, taken=Taken(tokens, rank, len(entering)))
            op, y = self.adapter(k).build(inside, entering[tokens])
            routes.append((tokens, op))
            total = total.index_add(0, tokens.to(y.device), y)
        return Routed(routes, shape, x.shape[-1], self.n_out), total.unflatten(0, shape)
