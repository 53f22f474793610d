"""What the head reads of the last stream: the output norm with its weight, and the rows that score tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ggufjac.errors import UserError
from ggufjac.families import Family
from ggufjac.families.parts import Run
from ggufjac.network.forward import run_of
from ggufjac.operators import Operator

#: How long (rms) the state is at which the output norm's weight is taken: its epsilon counts for nothing there.
FAR = 2.0**20
#: Rows of the head that are expanded at a time.
PIECE = 1 << 13
#: Scores that are held at a time.
SCORES = 1 << 24


def unembedded(family: Family, run: Run, ends: Tensor) -> Iterator[Tensor]:
    """The logits [k, n_vocab] of vectors [n, width] where the last block leaves off, as the model itself makes them,
    some at a time. run: of whatever text; positions mean nothing there."""
    elsewhere = run.elsewhere()
    step = max(1, SCORES // family.n_vocab)
    for piece in ends.split(step):
        _, y = family.output_norm.build(elsewhere, piece)
        yield family.head.value(elsewhere, y)


class Unembedding:
    """The output norm and the head of a model, for states of the stream that leaves the last block.

    As a linear map it is W_U diag(w), W_U being the head's matrix and w the norm's weight (behind the centring of a
    LayerNorm). The factor 1/rms of a state is left out: it changes no order of tokens, and a direction has none. So are
    biases, and factors and caps of all logits.

    Raises UserError where the norm reads a mixture of several planes that depends on the state.
    """

    def __init__(self, family: Family, dtype: torch.dtype = torch.float32) -> None:
        if family.leaving != family.d:
            raise UserError(
                f"the stream of {family.source.file.architecture!r} models has several planes, which its output norm "
                "mixes by the state: no direction of the stream stands for a token"
            )
        self._family, self._dtype = family, dtype
        probe = torch.ones(1, family.d, dtype=torch.float64)
        probe[:, ::2] = -1
        probe -= probe.mean()
        probe *= FAR / probe.square().mean().sqrt()
        self._norm: Operator = family.output_norm.build(run_of([0]), probe.to(dtype))[0]

    def rows(self, tokens: Sequence[int]) -> Tensor:
        """The rows of W_U diag(w) of some tokens, [n, d]: what each one's logit is the product with."""
        matrix = self._family.head_matrix()
        found = matrix.weight.gather(np.asarray(tokens, np.int64), self._dtype)
        return FAR * self._norm.adjoint(found[:, None])[:, 0]

    def mean_row(self) -> Tensor:
        """The mean of all rows, [1, d]: what a direction raises all logits by, which changes no probability."""
        weight = self._family.head_matrix().weight
        pieces = (weight.rows(at, at + PIECE).dequantize(self._dtype).sum(0) for at in range(0, weight.n_out, PIECE))
        total = torch.stack(list(pieces)).sum(0)
        return FAR * self._norm.adjoint(total[None, None] / weight.n_out)[:, 0]

    def seen(self, y: Tensor) -> Tensor:
        """diag(w) y for states or directions y [n, d], which the head's matrix scores."""
        return FAR * self._norm.apply(y.to(self._dtype)[:, None])[:, 0]
