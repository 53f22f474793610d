"""A computation played through without numbers: what it multiplies, and how much memory its values take at once.

Inside a `Rehearsal`, tensors on torch's "meta" device (or its fake tensors) have shapes but no values. The code that
runs is the code that will run, so its peak is known before anything is computed.
"""

from __future__ import annotations

import math
import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
PRODUCTS = {
    aten.mm.default: 0,
    aten.mm.out: 0,
    aten.addmm.default: 1,
    aten.addmm_.default: 1,
    aten.bmm.default: 0,
    aten.baddbmm.default: 1,
}


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
