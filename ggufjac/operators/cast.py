"""The same operator with coefficients of another precision."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ggufjac.operators.base import Deferred, Operator


def cast(op: Operator, dtype: torch.dtype) -> Operator:
    """`op` for blocks of `dtype`: every floating-point coefficient rounded to it; weights stay as they are packed."""
    if isinstance(op, Deferred):
        return Deferred(partial(_cast_built, op, dtype), op.affine)
    new = copy.copy(op)
    for name, value in vars(op).items():
        setattr(new, name, _cast(value, dtype))
    return new


def _cast_built(op: Deferred, dtype: torch.dtype) -> Operator:
    return cast(op.built(), dtype)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, Operator):
        return cast(value, dtype)
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, tuple | list):
        return type(value)(_cast(item, dtype) for item in value)
    return value
