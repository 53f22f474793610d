"""The device's own kernels, where this version of ggufjac has them and the device can run them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from ggufjac.reader.types import GGMLType

ROOM = "ggufjac.quants.triton_kernels"


class Kernels(Protocol):
    """packed: uint8 [n_out, row_bytes] on the device. Products are for blocks of at most NARROW rows.

    A module may name VARIANTS of its products, {name: keyword arguments}; all of them are timed.
    """

    NARROW: int

    def usable(self, device: torch.device) -> bool: ...

    def supports(self, type: GGMLType) -> bool: ...

    def expand(self, type: GGMLType, packed: Tensor, n_in: int, dtype: torch.dtype) -> Tensor: ...

    def apply(self, type: GGMLType, packed: Tensor, x: Tensor, **options: Any) -> Tensor: ...

    def adjoint(self, type: GGMLType, packed: Tensor, g: Tensor, **options: Any) -> Tensor: ...


def kernels_for(device: torch.device, type: GGMLType) -> Kernels | None:
    """The kernels for a type on a device; None where there are none."""
    try:
        found = cast(Kernels, import_module(f"{ROOM}.launch"))
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("ggufjac", "triton"):
            return None
        raise
    return found if found.usable(device) and found.supports(type) else None


def variants(kernels: Kernels) -> Mapping[str, Mapping[str, Any]]:
    """The kernels' variants by name; one without a name where they have none."""
    found: Mapping[str, Mapping[str, Any]] = getattr(kernels, "VARIANTS", {"": {}})
    return found
