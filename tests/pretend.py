"""A torch device of its own that needs no hardware: "pretend". Importing this module makes torch know it.

Its values lie in host memory and are kept from the CPU's as strictly as those of a GPU: what mixes the two raises, and
only explicit transfers lead from one to the other. Devices are mixed where torch allows it on CUDA as well: with
numbers of no dimension, and with indices.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretend"
aten = torch.ops.aten

_COPIES = (aten.copy_.default, aten._to_copy.default)
#: Where an index of the CPU is taken on a GPU.
_INDEXING = (
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
)
#: What has a result only once the values are known, so that the host waits for the device.
_WAITING = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
#: What torch makes by giving a size to a tensor that has none yet.
_RESIZING = (aten.eye.default, aten.eye.m, aten.arange.default, aten.arange.start, aten.arange.start_step)

#: Precisions and operations that the device lacks; where crossings are noted, if anybody wants to know.
_lacking: set[object] = set()
_noted: list[list[str]] = []


class Pretend(Tensor):
    """A tensor of the device; held: its values. A view holds a view of what its base holds."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> Pretend:
        if held.dtype in _lacking:
            raise TypeError(f"this device has no {held.dtype}")
        made: Pretend = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=f"{NAME}:0",
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _compute(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"{NAME}:0 {self.held!r}"


@contextmanager
def crossings() -> Iterator[list[str]]:
    """The operations that make the host wait for the device, or carry values from one to the other."""
    seen: list[str] = []
    _noted.append(seen)
    try:
        yield seen
    finally:
        _noted.remove(seen)


@contextmanager
def lacking(*what: object) -> Iterator[None]:
    """A device without these precisions and operations, as Metal has no float64."""
    _lacking.update(what)
    try:
        yield
    finally:
        _lacking.clear()


def _compute(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    here = any(isinstance(x, Pretend) for x in tensors)
    mixed = here and any(not isinstance(x, Pretend) and x.dim() for x in tensors)
    if mixed and func not in _COPIES and not (func in _INDEXING and isinstance(args[0], Pretend)):
        raise RuntimeError(f"{func} mixes values of {NAME} and of the CPU")
    if here and func in _lacking:
        raise NotImplementedError(f"this device has no {func}")
    leaves = here and func is aten._to_copy.default and torch.device(kwargs.get("device") or NAME).type == "cpu"
    if mixed or leaves or _waits(func, tensors):
        for seen in _noted:
            seen.append(str(func))

    if func is aten._efficientzerotensor.default:  # forward-mode derivatives: zeros that have no memory
        func = aten.zeros.default
    given = tree_map(_held, kwargs)
    if given.get("device") is not None:
        given["device"] = "cpu"
    out = func(*tree_map(_held, args), **given)
    if leaves:
        return out
    if func is aten.copy_.default and not isinstance(args[0], Pretend):
        return args[0]
    out = tree_map(_wrapped, out)
    if here:
        out = return_and_correct_aliasing(func, args, kwargs, out)
    if any(x.shape != x.held.shape for x in tensors if isinstance(x, Pretend)):
        raise RuntimeError(f"{func} gives a size to a tensor of {NAME} that only its values have then")
    return out


def _waits(func: Any, tensors: list[Tensor]) -> bool:
    if func in _INDEXING:
        return any(x.dtype == torch.bool for x in tensors[1:])
    return any(tag in func.tags for tag in _WAITING)


def _held(x: Any) -> Any:
    return x.held if isinstance(x, Pretend) else x


def _wrapped(x: Any) -> Any:
    return Pretend(x) if isinstance(x, Tensor) else x


def _created(func: Any, *args: Any, **kwargs: Any) -> Any:
    """What no tensor of the device takes part in: where its first tensors come from."""
    return _compute(func, args, kwargs)


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    """Copies between devices arrive here."""
    _compute(aten.copy_.default, (target, source), {})
    return target


def _register() -> tuple[torch.library.Library, ...]:
    _setup_privateuseone_for_python_backend(NAME)
    everything, some = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    everything.fallback(_created, "PrivateUse1")
    some.impl("_copy_from", _copy_from, "PrivateUse1")
    for op in _RESIZING:
        some.impl(op, partial(_created, op), "PrivateUse1")
    return everything, some


_libraries = _register()
