"""Which entries GNU's std::partial_sort puts first, also among equals.

llama.cpp's CPU backend chooses the k largest numbers with it (ggml_compute_forward_top_k in ggml's ops.cpp), and where
equals compete for the last places it is the algorithm that decides: a heap of the first k entries, on the top of which
the smallest lies; each later entry that is larger than that one takes its place (libstdc++'s __heap_select). Here it is
done for many rows at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]


def partial_sorted(values: NDArray[np.floating], k: int) -> NDArray[np.bool_]:
    """[rows, n] bool: the k entries that come first in each row of `values` [rows, n], the largest first."""
    n_rows, n = values.shape
    found = np.zeros((n_rows, n), np.bool_)
    every = np.arange(n_rows)
    heap = np.tile(np.arange(k), (n_rows, 1))
    for top in range(k // 2 - 1, -1, -1):
        _sink(values, heap, every, top, heap[:, top].copy())
    for entry in range(k, n):
        larger = np.flatnonzero(values[:, entry] > values[every, heap[:, 0]])
        if larger.size:
            _sink(values, heap, larger, 0, np.full(larger.size, entry))
    found[every[:, None], heap] = True
    return found


def _sink(values: NDArray[np.floating], heap: Rows, rows: Rows, top: int, new: Rows) -> None:
    """Put one new entry into the heap of each of these rows where `top` was: the hole sinks to a leaf, always to the
    smaller child, of equal ones to the right one, and the entry climbs from there as long as it is smaller than what is
    above it (__adjust_heap, __push_heap)."""
    k = heap.shape[1]
    hole = np.full(rows.size, top)
    while (sinking := np.flatnonzero(hole < (k - 1) // 2)).size:
        row, above = rows[sinking], hole[sinking]
        child = 2 * above + 2
        child -= values[row, heap[row, child]] > values[row, heap[row, child - 1]]
        heap[row, above] = heap[row, child]
        hole[sinking] = child
    if k % 2 == 0:  # the last leaf has no sibling
        lone = np.flatnonzero(hole == k // 2 - 1)
        heap[rows[lone], hole[lone]] = heap[rows[lone], k - 1]
        hole[lone] = k - 1
    while True:
        parent = np.maximum(hole - 1, 0) // 2
        smaller = values[rows, heap[rows, parent]] > values[rows, new]
        climbing = np.flatnonzero((hole > top) & smaller)
        if not climbing.size:
            break
        heap[rows[climbing], hole[climbing]] = heap[rows[climbing], parent[climbing]]
        hole[climbing] = parent[climbing]
    heap[rows, hole] = new
