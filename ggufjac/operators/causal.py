"""Blocks of a mixing matrix over positions whose upper triangle is zero: half of it need not be multiplied."""

from __future__ import annotations

from torch import Tensor

#: Queries of a block: few enough that little above the diagonal is left and that scores stay near the caches.
QUERIES = 128


def is_causal(p: Tensor) -> bool:
    """Whether every block of p [..., Tq, Tk] is zero behind its last query; a short or oblong matrix is not asked, and
    one without values counts as such."""
    n_q, n_k = p.shape[-2:]
    if n_q != n_k or n_q <= QUERIES:
        return False
    return p.is_meta or not any(bool(p[..., rows, n:].any()) for rows, n in _square(n_q)[:-1])


def blocks(p: Tensor, causal: bool) -> list[tuple[slice, int]]:
    """The rows of each block of p [..., Tq, Tk], and how many columns are not zero there."""
    n_q, n_k = p.shape[-2:]
    return _square(n_q) if causal else [(slice(0, n_q), n_k)]


def _square(n: int) -> list[tuple[slice, int]]:
    return [(slice(start, min(start + QUERIES, n)), min(start + QUERIES, n)) for start in range(0, n, QUERIES)]
