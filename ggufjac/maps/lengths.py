"""The lengths of the columns and rows of every token's map, and the longest ones themselves.

Column j of J_t is what the entry j of token t's vector writes, row i what the entry i of the output reads of token t.
Rows come out of a backward sweep of unit vectors, all tokens' at once; passing all of them gives every length exactly,
whether or not the full map can be held. Where that is too many, random probes estimate the lengths: for y of
independent normal numbers the expectation of (J_t^T y)_j^2 is the square of column j's length, and of (J_t x)_i^2 that
of row i's (Hutchinson's estimator of a diagonal). The candidates are then computed, so that what is returned is exact;
only that nothing longer was missed is a matter of chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ggufjac.maps.linear import LinearMap

#: Random columns per estimate; an estimated length is then right to about 1 / sqrt(2 PROBES) of itself.
PROBES = 32
#: How many times as many candidates as are wanted are computed, so that estimates may be wrong.
CANDIDATES = 3
#: So many times more columns may exact lengths cost than estimated ones.
WORTH = 4


@dataclass(frozen=True)
class Longest:
    """The longest columns and rows of every token's map, in order of length.

    columns, rows: which they are, [T, k] int64. column_vectors [T, k, d_out], row_vectors [T, k, d_in].
    squared_norms: ||J_t||_F^2 [T], exact or from the probes. exact: whether every length was computed.
    """

    columns: Tensor
    column_vectors: Tensor
    rows: Tensor
    row_vectors: Tensor
    squared_norms: Tensor
    exact: bool


def longest(linear: LinearMap, k: int, method: Literal["auto", "exact", "probes"] = "auto", seed: int = 0) -> Longest:
    """The k longest columns and rows of every J_t."""
    d_out, n_tokens, d_in = linear.shape
    wanted = PROBES * (n_tokens + 1) + (2 * CANDIDATES * k) * n_tokens
    exact = method == "exact" or (method == "auto" and d_out <= WORTH * wanted)
    columns, rows = _all_lengths(linear) if exact else _estimates(linear, seed)
    many = 1 if exact else CANDIDATES
    return Longest(
        *_columns(linear, columns.topk(min(many * k, d_in)).indices, k),
        *_rows(linear, rows.topk(min(many * k, d_out)).indices, k),
        squared_norms=columns.sum(1),
        exact=exact,
    )


def _all_lengths(linear: LinearMap) -> tuple[Tensor, Tensor]:
    """The squared lengths of all columns [T, d_in] and rows [T, d_out]; the full map passes by and is not kept."""
    d_out, n_tokens, d_in = linear.shape
    columns, rows = linear.inputs.new_zeros(n_tokens, d_in), linear.inputs.new_empty(n_tokens, d_out)
    step, _ = linear.cut(d_out, transposed=True)
    for start in range(0, d_out, step):
        which = torch.arange(start, min(start + step, d_out), device=linear.device)
        squares = linear.rmatmat(_units(linear, which)).square()
        columns += squares.sum(0)
        rows[:, start : start + step] = squares.sum(-1).T
    return columns, rows


def _estimates(linear: LinearMap, seed: int) -> tuple[Tensor, Tensor]:
    """The same from random probes: one backward sweep, and one forward sweep of PROBES columns for each token."""
    d_out, n_tokens, d_in = linear.shape
    random = torch.Generator().manual_seed(seed)
    y = torch.randn(PROBES, d_out, generator=random, dtype=linear.dtype).to(linear.device)
    x = torch.randn(n_tokens, PROBES, d_in, generator=random, dtype=linear.dtype).to(linear.device)
    return linear.rmatmat(y).square().mean(0), linear.each_matmat(x).square().mean(1)


def _columns(linear: LinearMap, candidates: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k longest among the candidates [T, m]: their numbers [T, k], and the columns [T, k, d_out]."""
    unit = linear.inputs.new_zeros(*candidates.shape, linear.shape[2])
    unit.scatter_(-1, candidates[..., None], 1.0)
    return _first(candidates, linear.each_matmat(unit), k)


def _rows(linear: LinearMap, candidates: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k longest among the candidates [T, m]: their numbers [T, k], and the rows [T, k, d_in]."""
    which, place = candidates.unique(return_inverse=True)  # a row of all tokens' maps comes in one column
    found = linear.rmatmat(_units(linear, which))
    tokens = torch.arange(candidates.shape[0], device=candidates.device)[:, None]
    return _first(candidates, found[place, tokens], k)


def _units(linear: LinearMap, which: Tensor) -> Tensor:
    unit = linear.inputs.new_zeros(len(which), linear.shape[0])
    return unit.scatter_(1, which[:, None], 1.0)


def _first(candidates: Tensor, vectors: Tensor, k: int) -> tuple[Tensor, Tensor]:
    order = vectors.norm(dim=-1).topk(min(k, candidates.shape[1])).indices
    return candidates.gather(1, order), vectors.gather(1, order[..., None].expand(-1, -1, vectors.shape[-1]))
