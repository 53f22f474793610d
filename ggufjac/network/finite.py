"""Where numbers that are none come from: which tensor of a file poisons a forward pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ggufjac.errors import UserError
from ggufjac.families import Family
from ggufjac.families.bases.source import Source
from ggufjac.quants import native
from ggufjac.reader.types import INTEGERS

#: Weights that are expanded at once to look for a bad one.
AT_ONCE = 1 << 22


def require_finite(family: Family, states: Sequence[Tensor], output: Tensor, logits: Tensor) -> None:
    """Raise UserError where a pass gave something that is no number, or nothing at all: which tensor it comes from.

    states: what entered every block, and what left the last one; output: the normalised state that the head read.
    Nothing of the file is read where all is well.
    """
    if bool(torch.isfinite(logits).all()):
        if bool(output.any()) and bool(logits.any()):
            return
        raise _empty(family.source, logits)
    source = family.source
    bad = next((i for i, state in enumerate(states) if not bool(torch.isfinite(state).all())), len(states))
    if bad == 0:
        prefixes: tuple[str, ...] = ("token_embd", "token_types", "position_embd", "per_layer")
        where = "the embeddings of this prompt"
    elif bad < len(states):
        prefixes, where = (family.tensors_of(bad - 1), "rope_"), f"what block {bad - 1} writes"
    else:
        prefixes, where = ("output", "token_embd"), "the logits"
    found = next((what for name in _named(source, prefixes) if (what := _bad_weight(source, name))), None)
    if found is not None:
        raise UserError(f"{source.file.path}: {found}: the file is damaged or was converted wrongly; get another one")
    raise _too_large(source, where, logits)


def _too_large(source: Source, where: str, logits: Tensor) -> UserError:
    precision = str(logits.dtype).removeprefix("torch.")
    return UserError(
        f"{source.file.path}: {where} overflows {precision}, though the weights there are finite; --dtype float64 may "
        "hold it, and what was steered must be steered less"
    )


def _empty(source: Source, logits: Tensor) -> UserError:
    zero = source.empty_matrices
    if not zero:  # a norm divides by a length that is infinite
        return _too_large(source, "the square of what enters the last norm", logits)
    return UserError(
        f"{source.file.path}: every logit is zero, for {', '.join(map(repr, zero[:2]))} "
        f"{'holds' if len(zero) == 1 else 'hold'} only zeros; the download is probably unfinished: get the file again"
    )


def _named(source: Source, prefixes: tuple[str, ...]) -> list[str]:
    return [name for prefix in prefixes for name in source.file.tensors if name.startswith(prefix)]


def _bad_weight(source: Source, name: str) -> str | None:
    """Which value of a tensor is not finite; None where all are."""
    info = source.file.tensors[name]
    if info.type in INTEGERS:
        return None
    data, step = source.file.data(name), max(1, AT_ONCE // info.shape[-1])
    for start in range(0, len(data), step):
        values = native.dequantize(info.type, np.ascontiguousarray(data[start : start + step]))
        wrong = np.argwhere(~np.isfinite(values))
        if len(wrong):
            row, column = (int(i) for i in wrong[0])
            return f"the tensor {name!r} has {values[row, column]} in row {start + row}, column {column}"
    return None
