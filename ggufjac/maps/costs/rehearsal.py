"""A computation played through without numbers: what it multiplies, and how much memory its values take at once.

Inside a `Rehearsal`, tensors on torch's "meta" device (or its fake tensors) have shapes but no values. The code that
runs is the code that will run, so its peak is known before anything is computed.
"""

from __future__ import annotations

import math
import weakref
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ggufjac.quants.device.halves import Halves
from ggufjac.quants.device.kernels import Kernels
from ggufjac.quants.memory.road import Road
from ggufjac.reader.types import GGMLType

aten = torch.ops.aten
PRODUCTS = {
    aten.mm.default: 0,
    aten.mm.out: 0,
    aten.addmm.default: 1,
    aten.addmm_.default: 1,
    aten.bmm.default: 0,
    aten.baddbmm.default: 1,
}


class EmptyRoad(Road):
    """Bytes without values. A chunk on its way takes its own size."""

    def send(self, data: NDArray[np.uint8]) -> Tensor:
        return torch.empty(data.nbytes, dtype=torch.uint8, device=self.device)


class EmptyKernels(Kernels):
    """What kernels of a device's own leave in its memory and multiply, without values.

    narrow: rows of x up to which they expand weights on the way.
    """

    def __init__(self, *, fast_halves: bool = False, narrow: int = 64) -> None:
        super().__init__(fast_halves=fast_halves)
        self.narrow = narrow

    def expand(self, type: GGMLType, packed: Tensor, n_in: int, dtype: torch.dtype) -> Tensor:
        return packed.new_empty(packed.shape[0], n_in, dtype=dtype)

    def halves(self, type: GGMLType, packed: Tensor, n_in: int) -> Halves:
        high, low = (self.expand(type, packed, n_in, torch.float16) for _ in range(2))
        return Halves(high, low, packed.new_empty((), dtype=torch.float32))

    def apply(self, type: GGMLType, packed: Tensor, n_in: int, x: Tensor) -> Tensor | None:
        return x.float() @ self._nothing(packed, n_in).T if x.shape[0] <= self.narrow else None

    def adjoint(self, type: GGMLType, packed: Tensor, n_in: int, g: Tensor) -> Tensor | None:
        return g.float() @ self._nothing(packed, n_in) if g.shape[0] <= self.narrow else None

    def _nothing(self, packed: Tensor, n_in: int) -> Tensor:
        """A matrix that takes no memory."""
        return packed.new_empty(1, 1, dtype=torch.float32).expand(packed.shape[0], n_in)


class Rehearsal(TorchDispatchMode):
    """Counts operations of products (2 per multiply-add) and the bytes of tensors without values that are alive.

    flops; live and peak in bytes. Real tensors do not count.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0
        self.live = 0
        self.peak = 0
        self._users: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in PRODUCTS:
            left, right = args[PRODUCTS[func]], args[PRODUCTS[func] + 1]
            self.flops += 2 * math.prod(left.shape) * right.shape[-1]
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and (leaf.is_meta or type(leaf) is not Tensor):
                self._count(leaf)
        return out

    def _count(self, x: Tensor) -> None:
        storage = x.untyped_storage()
        key, nbytes = storage._cdata, storage.nbytes()
        if key not in self._users:
            self._users[key] = 0
            self.live += nbytes
            self.peak = max(self.peak, self.live)
        self._users[key] += 1
        weakref.finalize(x, self._gone, key, nbytes)

    def _gone(self, key: int, nbytes: int) -> None:
        self._users[key] -= 1
        if not self._users[key]:
            del self._users[key]
            self.live -= nbytes
