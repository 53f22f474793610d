"""What llama.cpp computed on the way to its prediction: what entered every product, what its attention read.

Nothing here depends on the names that a graph gives its own tensors, which differ from family to family. A product is
known by its weight, which has the file's name; what is stored for later positions, by the cache that it is stored in.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from ggufjac.llamacpp.tensors import Array, GraphTensor

_PRODUCTS = ("MUL_MAT", "MUL_MAT_ID")
_CACHE = re.compile(r"cache_([kv])_l(\d+)\b")
_PROBABILITIES = re.compile(r"kq_soft_max-(\d+)\b")
_LAYER = re.compile(r"blk\.(\d+)\.")


@dataclass
class Recording:
    """The values of one run of a prompt of T tokens; rows are positions, T or the last one alone.

    inputs: what entered each product with the weight of this name, [rows, n_in]; for a stack of experts [rows, 1 or
    used, n_in], for any other stack of k matrices [k, rows, n_in]. Products of one input share one array. outputs: what
    came out of them, for the weights that were asked for.
    chosen: each layer's experts by number, [rows, used]. values: what each layer stored for later positions to read,
    [T, n], before it was rounded to the cache's type. probabilities: what each layer's attention read, [n_head, rows,
    T]. A layer that reads B blocks of positions as well has T + B there instead of T, the blocks last. read_from: the
    layer in whose cache it read that. named: other tensors by their name in the graph.
    logits: [rows, n_vocab] of the positions that were asked for. seconds: of the whole evaluation; copying: of these,
    in the callback. copied: bytes.
    """

    inputs: dict[str, list[Array]] = field(default_factory=dict)
    outputs: dict[str, list[Array]] = field(default_factory=dict)
    chosen: dict[int, npt.NDArray[np.int64]] = field(default_factory=dict)
    values: dict[int, Array] = field(default_factory=dict)
    probabilities: dict[int, Array] = field(default_factory=dict)
    read_from: dict[int, int] = field(default_factory=dict)
    named: dict[str, Array] = field(default_factory=dict)
    logits: Array = field(default_factory=lambda: np.empty(0, np.float32))
    seconds: float = 0.0
    copying: float = 0.0
    copied: int = 0


class Recorder:
    """Sees every tensor of the graph before it is computed, asks for the few that a recording needs, and copies these.

    weights: whose products matter, by the names in the file. outputs: of which of them the result is kept too.
    latent: the layers whose values are the beginning of their keys. blocks: how many blocks of positions each layer
    reads from a cache of their own, where it has one. named: other tensors that are kept, by their names in the graph.
    """

    def __init__(
        self,
        n_tokens: int,
        weights: Collection[str],
        outputs: Callable[[str], bool],
        latent: Collection[int] = (),
        blocks: Mapping[int, int] = MappingProxyType({}),
        named: Collection[str] = (),
    ) -> None:
        self.recording = Recording()
        self._n_tokens = n_tokens
        self._weights = frozenset(weights)
        self._outputs = outputs
        self._latent = frozenset(latent)
        self._blocks = blocks
        self._named = frozenset(named)
        self._caches: dict[int, Array] = {}
        self._known: dict[int, Array] = {}

    def wants(self, tensor: GraphTensor) -> bool:
        """Whether the tensor is to be shown once it is computed."""
        started = time.perf_counter()
        wanted = self._wants(tensor)
        self.recording.copying += time.perf_counter() - started
        return wanted

    def take(self, tensor: GraphTensor) -> None:
        """Copy what is needed of a tensor that was just computed; what it was computed from is still there."""
        started = time.perf_counter()
        self._take(tensor)
        self.recording.copying += time.perf_counter() - started

    def _wants(self, tensor: GraphTensor) -> bool:
        op = tensor.op
        if op in _PRODUCTS:
            weight = self._weight(tensor)
            if weight is None:
                self._reads_cache(tensor)
                return False
            entering = tensor.source(1)
            known = None if entering is None else self._known.get(entering.address)
            if known is None or op == "MUL_MAT_ID" or self._outputs(weight):
                return True
            self.recording.inputs.setdefault(weight, []).append(known)
            return False
        name = tensor.name
        if op == "SET_ROWS":
            return self._stored(tensor) is not None
        return (op == "SOFT_MAX" and _PROBABILITIES.match(name) is not None) or name in self._named

    def _take(self, tensor: GraphTensor) -> None:
        op, name = tensor.op, tensor.name
        if op in _PRODUCTS:
            self._take_product(tensor, op)
        elif op == "SET_ROWS":
            self._take_stored(tensor)
        elif match := _PROBABILITIES.match(name):
            self._take_probabilities(tensor, int(match[1]))
        if name in self._named:
            self.recording.named[name] = self._count(tensor.read())

    def _take_product(self, tensor: GraphTensor, op: str) -> None:
        weight, entering = self._weight(tensor), tensor.source(1)
        if weight is None or entering is None:
            return
        if entering.address not in self._known:
            self._known[entering.address] = self._count(_rows(tensor, entering))
        self.recording.inputs.setdefault(weight, []).append(self._known[entering.address])
        if self._outputs(weight):
            self.recording.outputs.setdefault(weight, []).append(self._count(_rows(tensor, tensor)))
        ids = tensor.source(2)
        layer = _LAYER.match(weight)
        if op == "MUL_MAT_ID" and ids is not None and layer and int(layer[1]) not in self.recording.chosen:
            self.recording.chosen[int(layer[1])] = ids.read_integers()

    def _take_stored(self, tensor: GraphTensor) -> None:
        stored, entering = self._stored(tensor), tensor.source(0)
        if stored is None or entering is None:
            return
        array = self._count(entering.read())
        if stored in self._blocks:  # there are several caches of its keys: what it reads tells which
            self._caches[tensor.root.address] = array
        else:
            self.recording.values[stored] = array.reshape(self._n_tokens, -1)

    def _take_probabilities(self, tensor: GraphTensor, layer: int) -> None:
        p = tensor.read()
        p, n = p.reshape(-1, *p.shape[-2:]), self._n_tokens
        found = p[..., :n]
        scores, mask, n_blocks = tensor.source(0), tensor.source(1), self._blocks.get(layer)
        keys = scores and scores.source(0)
        if n_blocks is not None and keys and mask and mask.op == keys.root.op == "CONCAT":
            of_positions, of_blocks = keys.root.source(0), keys.root.source(1)
            seen = mask.source(0)
            if of_positions and of_blocks and seen:
                values = (self._caches[of_positions.root.address][:n], self._caches[of_blocks.root.address][:n_blocks])
                self.recording.values[layer] = np.concatenate(values)
                found = np.concatenate((found, p[..., seen.width : seen.width + n_blocks]), -1)
        self.recording.probabilities[layer] = self._count(np.ascontiguousarray(found))

    def _stored(self, tensor: GraphTensor) -> int | None:
        """The layer whose values are written to the cache, where that is done."""
        match = _CACHE.match(tensor.root.name)
        if match is None:
            return None
        layer = int(match[2])
        return layer if match[1] == ("k" if layer in self._latent else "v") else None

    def _reads_cache(self, tensor: GraphTensor) -> None:
        """Note the cache of which layer the probabilities of which layer are applied to."""
        cache, p = tensor.source(0), tensor.source(1)
        stored, read = cache and _CACHE.match(cache.root.name), p and _PROBABILITIES.match(p.root.name)
        if stored and read:
            self.recording.read_from[int(read[1])] = int(stored[2])

    def _weight(self, tensor: GraphTensor) -> str | None:
        """The name of the weight of a product, where it matters."""
        factor = tensor.source(0)
        name = "" if factor is None else factor.root.name
        return name if name in self._weights else None

    def _count(self, array: Array) -> Array:
        self.recording.copied += array.nbytes
        return array


def _rows(product: GraphTensor, tensor: GraphTensor) -> Array:
    """What enters or leaves a product, with the axes that a recording gives it."""
    if product.op == "MUL_MAT_ID":
        return tensor.read(axes=3)
    array, weight = tensor.read(), product.source(0)
    stacked = 1 if weight is None else weight.matrices
    return array.reshape(stacked, -1, array.shape[-1]) if stacked > 1 else array
