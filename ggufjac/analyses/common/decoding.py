"""Vectors to tokens: what a left vector writes, what a right vector reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ggufjac.families import Family
from ggufjac.quants import products
from ggufjac.quants.memory.store import DeviceWeights
from ggufjac.quants.memory.threads import kernels_first
from ggufjac.quants.tensor import QuantTensor

#: Scores kept at a time; bounds the memory of decoding many vectors over a large vocabulary.
SCORES = 1 << 26
#: Embedding rows whose norms are taken at a time.
NORM_ROWS = 1 << 13


@dataclass(frozen=True)
class Nearest:
    """The best tokens for n vectors: ids [n, m] int64 and scores [n, m], best first."""

    ids: Tensor
    scores: Tensor


class Decoder:
    """Decodes vectors of one model in one dtype; the norms of the embedding rows are taken once, when first needed."""

    def __init__(self, family: Family, dtype: torch.dtype) -> None:
        self._head = family.head_matrix().weight
        self._embedding = family.embedding
        self._dtype = dtype

    @cached_property
    def _norms(self) -> Tensor:
        return _row_norms(self._embedding, self._dtype)

    def writes(self, u: Tensor, m: int, store: DeviceWeights | None = None) -> Nearest:
        """The m tokens with the largest logits head @ u for every vector of u [n, d]; store: where their device has the
        weights."""
        return _best(self._head, u, m, None, store)

    def reads(self, v: Tensor, m: int, store: DeviceWeights | None = None) -> Nearest:
        """The m tokens whose embeddings have the largest cosine with every vector of v [n, d].

        Rows of zero norm (unused tokens) never count. store: as in `writes`.
        """
        unit = v / v.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(v.dtype).tiny)
        return _best(self._embedding, unit, m, self._norms, store)


def _best(weight: QuantTensor, vectors: Tensor, m: int, norms: Tensor | None, store: DeviceWeights | None) -> Nearest:
    with kernels_first():
        return _best_in_pieces(weight, vectors, m, norms, store)


def _best_in_pieces(
    weight: QuantTensor, vectors: Tensor, m: int, norms: Tensor | None, store: DeviceWeights | None
) -> Nearest:
    step = max(1, SCORES // weight.n_out)
    norms = None if norms is None else norms.to(vectors.device)
    ids, values = [], []
    for piece in vectors.split(step):
        scores = products.apply(weight, piece, store)
        if norms is not None:
            scores = torch.where(norms > 0, scores / norms, -torch.inf)
        top = scores.topk(min(m, weight.n_out), dim=-1)
        ids.append(top.indices)
        values.append(top.values)
    return Nearest(torch.cat(ids), torch.cat(values))


def _row_norms(weight: QuantTensor, dtype: torch.dtype) -> Tensor:
    starts = range(0, weight.n_out, NORM_ROWS)
    return torch.cat([weight.rows(start, start + NORM_ROWS).dequantize(dtype).norm(dim=-1) for start in starts])
