"""The largest columns and rows of each token's map, decoded.

Column j of J_t is what one entry of the token's vector writes into the output, and decodes like a left vector; row i is
what one entry of the output reads of the token's vector, and decodes like a right vector. A few entries stand out in
most models, the same ones for many tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ggufjac.analyses.common.predictions import TOKENS_PER_VECTOR
from ggufjac.analyses.common.result import MapResult
from ggufjac.analyses.common.stopwatch import Progress, silent
from ggufjac.analyses.common.subject import Subject
from ggufjac.analyses.common.tokens import Piece
from ggufjac.analyses.options import ExtremesOptions
from ggufjac.chat.prompt import PromptLike
from ggufjac.maps.lengths import longest
from ggufjac.maps.model import Model


@dataclass(frozen=True)
class Extreme:
    """A long column or row.

    entry: its number. length: ||.||; share: its square over ||J_t||_F^2. weight: of a column the entry of the token's
    vector that it belongs to, x_tj; of a row what it makes of that vector, (J_t x_t)_i. tokens: the vector decoded,
    what a column writes or what a row reads. entry_tokens: the entry's own axis decoded, for a column as it is read
    (the embeddings closest to it) and for a row as it is written (the logits that it raises most). Vector and axis are
    decoded with the sign of the weight, the way in which this prompt uses them.
    """

    entry: int
    length: float
    share: float
    weight: float
    tokens: tuple[Piece, ...]
    entry_tokens: tuple[Piece, ...]


@dataclass(frozen=True)
class TokenExtremes:
    """One input token. norm: ||J_t||_F; columns, rows: its longest ones, the longest first."""

    token: Piece
    norm: float
    columns: tuple[Extreme, ...]
    rows: tuple[Extreme, ...]


@dataclass(frozen=True)
class Recurring:
    """An entry that is among the longest of several tokens. entry: its number; tokens: of how many."""

    entry: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Extremes(MapResult):
    """The longest columns and rows of every token's map.

    Their lengths are exact. recurring_columns, recurring_rows: entries that several tokens share. exact: whether all
    lengths were computed, so that nothing longer can have been missed and norms are exact too; otherwise norms, and the
    choice of what to compute, come from random probes.
    """

    kind: ClassVar[str] = "extremes"

    tokens: tuple[TokenExtremes, ...]
    recurring_columns: tuple[Recurring, ...]
    recurring_rows: tuple[Recurring, ...]
    exact: bool


def extremes(
    model: Model, prompt: PromptLike, options: ExtremesOptions | None = None, progress: Progress = silent
) -> Extremes:
    """The longest columns and rows of each token's map at one prompt."""
    options = options or ExtremesOptions()
    subject = Subject(model, prompt, options, progress)
    subject.lap("forward pass")
    linear = subject.linear
    subject.lap("reconstruction")
    reconstruction = linear.reconstruction_error()
    subject.lap("columns and rows")
    found = longest(linear, options.top, options.method, options.seed)

    subject.require_numbers(found.squared_norms)
    subject.lap("decoding")

    def write(vectors: Tensor) -> list[tuple[Piece, ...]]:
        return subject.writes(vectors, TOKENS_PER_VECTOR)

    def read(vectors: Tensor) -> list[tuple[Piece, ...]]:
        return subject.reads(vectors, TOKENS_PER_VECTOR)

    used = linear.inputs.gather(1, found.columns)
    made = torch.einsum("tkn,tn->tk", found.row_vectors, linear.inputs)
    columns = _described(found.columns, found.column_vectors, used, found.squared_norms, write, read)
    rows = _described(found.rows, found.row_vectors, made, found.squared_norms, read, write)
    return Extremes(
        **subject.map_facts(reconstruction),
        tokens=tuple(
            TokenExtremes(token, float(found.squared_norms[t].sqrt()), columns[t], rows[t])
            for t, token in enumerate(subject.pieces)
        ),
        recurring_columns=_recurring(found.columns),
        recurring_rows=_recurring(found.rows),
        exact=found.exact,
        arrays=subject.arrays(
            squared_norms=found.squared_norms,
            columns=found.columns,
            column_vectors=found.column_vectors,
            rows=found.rows,
            row_vectors=found.row_vectors,
        ),
    )


def _described(
    which: Tensor,
    vectors: Tensor,
    weights: Tensor,
    squared_norms: Tensor,
    decode: Callable[[Tensor], list[tuple[Piece, ...]]],
    decode_entry: Callable[[Tensor], list[tuple[Piece, ...]]],
) -> list[tuple[Extreme, ...]]:
    """The columns or rows of every token in words: which [T, k], vectors [T, k, n], weights [T, k]."""
    k = which.shape[1]
    signs = torch.where(weights < 0, -1.0, 1.0).to(vectors)
    decoded = decode((signs[..., None] * vectors).flatten(0, 1))
    used = torch.stack((which.flatten(), (signs < 0).flatten().long()), 1)
    axes, place = used.unique(dim=0, return_inverse=True)
    units = vectors.new_zeros(len(axes), vectors.shape[-1])  # inputs and outputs have the same dimension
    units.scatter_(1, axes[:, :1], 1.0 - 2.0 * axes[:, 1:].to(vectors))
    of_axes = decode_entry(units)
    lengths = vectors.norm(dim=-1)
    shares = (lengths.square() / squared_norms[:, None]).nan_to_num(0.0)  # of a map that is zero there are none
    which, lengths, shares, weights, place = (x.cpu() for x in (which, lengths, shares, weights, place))
    return [
        tuple(
            Extreme(
                entry=int(which[t, i]),
                length=float(lengths[t, i]),
                share=float(shares[t, i]),
                weight=float(weights[t, i]),
                tokens=decoded[t * k + i],
                entry_tokens=of_axes[int(place[t * k + i])],
            )
            for i in range(k)
        )
        for t in range(len(which))
    ]


def _recurring(which: Tensor) -> tuple[Recurring, ...]:
    """The entries that several tokens have among their longest, the most frequent first."""
    counts = Counter(which.flatten().tolist())
    return tuple(Recurring(entry, n) for entry, n in counts.most_common() if n > 1)
