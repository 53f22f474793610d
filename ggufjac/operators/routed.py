"""Operators that see only some of the tokens each: the experts of a mixture."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally


class Routed(Operator):
    """y[t] = sum over the routes that t takes of (A_r x)[t]: every route's operator sees its own tokens only.

    routes: (tokens, operator) pairs; tokens [m] are positions in the flattened axes `shape` (usually (T,)),
    the operator maps [..., m, n_in] to [..., m, n_out]. Blocks are [..., *shape, n]. All columns of a block go through
    a route together, so each expert's weights are met once per block.
    """

    def __init__(
        self, routes: Iterable[tuple[Tensor, Operator]], shape: tuple[int, ...], n_in: int, n_out: int
    ) -> None:
        self.routes = tuple(routes)
        self.shape = tuple(shape)
        self.n_in = n_in
        self.n_out = n_out

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return self._sum(x, self.n_out, ((tokens, op.apply(self._take(x, tokens), one)) for tokens, op in self.routes))

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return self._sum(
            g,
            self.n_in,
            [(tokens, op.adjoint(self._take(g, tokens), self._placed(tally, tokens))) for tokens, op in self.routes],
        )

    @property
    def children(self) -> tuple[Operator, ...]:
        return tuple(op for _, op in self.routes)

    def _placed(self, tally: Tally, tokens: Tensor) -> Tally:
        """The tally of a route, whose positions are only the tokens that take it."""
        if tally is None:
            return None

        def placed(name: str, worth: Tensor) -> None:
            everywhere = worth.new_zeros(*worth.shape[:-1], math.prod(self.shape))
            everywhere.index_add_(-1, tokens.to(worth.device), worth)
            tally(name, everywhere.unflatten(-1, self.shape))

        return placed

    def _take(self, x: Tensor, tokens: Tensor) -> Tensor:
        return x.flatten(-1 - len(self.shape), -2).index_select(-2, tokens.to(x.device))

    def _sum(self, like: Tensor, n: int, pieces: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        columns = like.shape[: like.dim() - 1 - len(self.shape)]
        total = like.new_zeros(*columns, math.prod(self.shape), n)
        for tokens, piece in pieces:
            total.index_add_(-2, tokens.to(like.device), piece)
        return total.reshape(*columns, *self.shape, n)


class Weigh(Operator):
    """y[i] = w[i, rank[i]] x[i] for m tokens: from the weights of their experts, w [..., m, used], to [..., m, n].

    rank [m] int64, x [m, n]: what one expert's weights multiply, and as which of the experts of each token.
    """

    def __init__(self, rank: Tensor, used: int, x: Tensor) -> None:
        self.rank = rank
        self.used = used
        self.x = x

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return x.gather(-1, self._ranks(x)) * self.x

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        worth = (g * self.x).sum(-1, keepdim=True)
        return worth.new_zeros(*worth.shape[:-1], self.used).scatter(-1, self._ranks(worth), worth)

    def _ranks(self, like: Tensor) -> Tensor:
        return self.rank[:, None].to(like.device).expand(*like.shape[:-1], 1)


def routes_of(chosen: Tensor) -> Iterable[tuple[int, Tensor, Tensor]]:
    """(route, tokens [m], rank [m]) for every number that occurs in chosen [n_tokens, k], in ascending order.

    tokens are the rows that chose the route, ascending, rank the column in which each did; both are where `chosen` is.
    A row that chooses a route twice is there twice.
    """
    # sorted on the CPU: a device would have to be asked anew for the tokens of every route
    routes, order = chosen.cpu().flatten().sort(stable=True)
    found, sizes = routes.unique_consecutive(return_counts=True)
    places = order.to(chosen.device)
    k, m = chosen.shape[-1], sizes.tolist()
    tokens, rank = places.div(k, rounding_mode="floor"), places % k
    yield from zip(found.tolist(), tokens.split(m), rank.split(m), strict=True)
