"""A pass through a whole network: the operators of every layer at one prompt, and the values on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ggufjac.families import Family
from ggufjac.families.parts import Run
from ggufjac.operators import Operator
from ggufjac.quants.threads import kernels_first


@dataclass(frozen=True)
class Pass:
    """What one pass leaves behind.

    layers: the operator of every block; final: the output norm's; head: from the normalised state to the logits.
    output: [..., T', d] after the output norm, T' positions; logits: [..., T', n_vocab].
    """

    layers: tuple[Operator, ...]
    final: Operator
    head: Operator
    output: Tensor
    logits: Tensor


def run_of(n_tokens: int, n_ctx: int | None = None, **options: Any) -> Run:
    """The run of a prompt from position 0, in a context of n_ctx tokens (None: as long as the prompt).

    llama.cpp rounds its context up to a multiple of 256, and so does this.
    """
    context = n_tokens if n_ctx is None else max(n_ctx, n_tokens)
    return Run(positions=torch.arange(n_tokens), n_ctx=-(-context // 256) * 256, **options)


def propagate(family: Family, run: Run, x: Tensor, *, last_only: bool = True) -> Pass:
    """Run the embeddings x [..., T, d] through the family; with `last_only` the last layer keeps the last position."""
    with kernels_first():
        return _propagate(family, run, x, (x.shape[-2] - 1,) if last_only else None)


def _propagate(family: Family, run: Run, x: Tensor, last: tuple[int, ...] | None) -> Pass:
    operators = []
    for i, part in enumerate(family.layers):
        op, x = part.build(run.at(i, last if i == family.n_layer - 1 else None), x)
        operators.append(op)
    final, y = family.output_norm.build(run, x)
    y = run.value("result_norm", y)
    head, logits = family.head.build(run, y)
    return Pass(tuple(operators), final, head, y, run.value("result_output", logits))
