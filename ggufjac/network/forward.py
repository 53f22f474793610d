"""A pass through a whole network: the operators of every layer at one prompt, and the values on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ggufjac.families import Family
from ggufjac.families.parts import Part, Run
from ggufjac.families.parts.narrowing import kept
from ggufjac.network.finite import require_finite
from ggufjac.operators import Deferred, Operator, Sequential
from ggufjac.operators.walk import coefficient_bytes, weights
from ggufjac.quants.memory.readahead import AHEAD, Readahead
from ggufjac.quants.memory.threads import kernels_first
from ggufjac.quants.tensor import QuantTensor

#: Is shown a layer and the state that leaves it [..., T', n]; gives what else the state goes through then, or None.
Edit: TypeAlias = "Callable[[int, Tensor], Operator | None]"


@dataclass(frozen=True)
class ForwardPass:
    """What one pass leaves behind.

    run: how it was run. states: [..., T, n], what entered every block, and what left the last one (T' positions).
    layers: the operator of every block; final: the output norm's; head: from the normalised state to the logits.
    output: [..., T', d] after the output norm, T' positions; logits: [..., T', n_vocab].
    """

    run: Run
    states: tuple[Tensor, ...]
    layers: tuple[Operator, ...]
    final: Operator
    head: Operator
    output: Tensor
    logits: Tensor

    @property
    def states_bytes(self) -> int:
        """Memory of the states between the blocks."""
        return sum(state.numel() * state.element_size() for state in self.states)


def run_of(tokens: Sequence[int], n_ctx: int | None = None, **options: Any) -> Run:
    """The run of a prompt from position 0, in a context of n_ctx tokens (None: as long as the prompt)."""
    n_tokens = len(tokens)
    context = rounded_context(n_tokens if n_ctx is None else max(n_ctx, n_tokens))
    return Run(torch.tensor(list(tokens)), torch.arange(n_tokens), n_ctx=context, **options)


def rounded_context(n_ctx: int) -> int:
    """The context length that llama.cpp makes of one that was asked for: a multiple of 256."""
    return -(-n_ctx // 256) * 256


def propagate(
    family: Family,
    run: Run,
    x: Tensor,
    *,
    last_only: bool = True,
    rows: Sequence[int] | None = None,
    keep: int | None = None,
    edit: Edit | None = None,
    passed: Callable[[int], None] | None = None,
) -> ForwardPass:
    """Run the embeddings x [..., T, d] through the family; with `last_only` the last layer keeps the last position.

    rows: the positions that it keeps, where they are others. keep: bytes that the coefficients may take (None: any).
    From the layer on that exceeds them, operators are made anew from the state that enters whenever they are needed.
    edit: what happens to the states between the blocks; its operators become part of the layers'.
    passed: is told how many prompts have passed one more layer.

    Raises UserError where the file's weights make something of the prompt that is no number.
    """
    with kernels_first(), Readahead() as ahead:
        last = (x.shape[-2] - 1,) if last_only else None
        return _propagate(family, run, x, last if rows is None else tuple(rows), keep, edit, ahead, passed)


def _propagate(
    family: Family,
    run: Run,
    x: Tensor,
    last: tuple[int, ...] | None,
    keep: int | None,
    edit: Edit | None,
    ahead: Readahead,
    passed: Callable[[int], None] | None,
) -> ForwardPass:
    operators: list[Operator] = []
    states, held = [x], 0
    for i, part in enumerate(family.layers):
        if not x.is_meta:  # a rehearsal reads nothing
            near = map(family.tensors_of, range(i + 1, min(i + 1 + AHEAD, family.n_layer)))
            ahead.ask(data for prefix in near for data in family.source.packed(prefix, run.store))
        here = run.at(i, last if i == family.n_layer - 1 else None)
        op, y = build(part, here, x)
        if not x.is_meta and family.source.passes(family.tensors_of(i)):
            ahead.later(partial(family.source.leave, family.tensors_of(i)))
        if keep is not None:
            held += coefficient_bytes([op])
            op = op if held <= keep else Deferred(partial(_again, part, here, x), op.affine)
        more = None if edit is None else edit(i, y)
        if more is not None:
            op, y = Sequential([op, more]), more.apply(y, 1.0)
        operators.append(op)
        states.append(x := y)
        if passed is not None:
            passed(x.shape[:-2].numel())
    final, y = family.output_norm.build(run, x)
    y = run.value("result_norm", y)
    head, logits = family.head.build(run, y)
    if not x.is_meta:
        ahead.leave(weights(head))
        if not torch.is_grad_enabled():
            require_finite(family, states, y, logits)
    return ForwardPass(run, tuple(states), tuple(operators), final, head, y, run.value("result_output", logits))


def path_weights(family: Family, n_tokens: int) -> list[list[QuantTensor]]:
    """The weights that a sweep reads, layer by layer, for prompts of n_tokens; from a rehearsal without values."""
    with torch.no_grad():
        empty = torch.empty(n_tokens, family.d, device="meta")
        return [list(weights(op)) for op in propagate(family, run_of([0] * n_tokens), empty).layers]


def build(part: Part, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
    """A layer's operator at x [..., T, n] and its output, at the positions that the run asks for.

    A layer that mixes no positions drops none by itself.
    """
    op, y = part.build(run, x)
    if run.rows is None or y.shape[-2] == len(run.rows):
        return op, y
    keep = kept(run, x)
    return Sequential([op, keep]), keep.apply(y)


def _again(part: Part, run: Run, x: Tensor) -> Operator:
    with torch.no_grad():
        return build(part, run, x)[0]
