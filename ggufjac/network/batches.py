"""Prompts that are run side by side, as many at a time as a budget allows."""

from __future__ import annotations

from collections.abc import Iterator

from ggufjac.families import Family

#: Positions of all prompts together that pass a layer at once: enough to make the products worth the weights.
ROWS = 1 << 9
#: Values that live at once inside a layer, in multiples of the stream's width d: a few as wide as a hidden layer; and
#: attention's scores, with one head for every so many entries of the stream at least.
INSIDE, HEAD = 32, 32


def batches(
    family: Family, n: int, n_tokens: int, n_scored: int, itemsize: int, budget: int, rows: int = ROWS
) -> Iterator[slice]:
    """n prompts of n_tokens each, cut so that their values fit into `budget` bytes; n_scored: positions with logits.

    rows: positions of a piece together, at most.
    """
    values = n_tokens * family.d * (family.n_layer + INSIDE + n_tokens // HEAD) + n_scored * family.n_vocab
    step = max(1, min(rows // n_tokens, budget // (values * itemsize)))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))
