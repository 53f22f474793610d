"""What an operator is made of: its weights, its coefficients, and how wide its values get on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor

from ggufjac.operators.base import Operator
from ggufjac.operators.elementwise import Select
from ggufjac.operators.matmul import MatMul
from ggufjac.quants.memory.store import DeviceWeights
from ggufjac.quants.tensor import QuantTensor


def leaves(op: Operator) -> Iterator[Operator]:
    """The operators that do the work, in the order of application; one that is put off is not made for this."""
    waiting = [op]  # and no recursion: a sweep asks this of every layer several times
    while waiting:
        part = waiting.pop()
        if children := part.children:
            waiting.extend(reversed(children))
        else:
            yield part


def everything(op: Operator) -> Iterator[Operator]:
    """The operator and all that it is made of."""
    waiting = [op]
    while waiting:
        yield (part := waiting.pop())
        waiting.extend(reversed(part.children))


def weights(op: Operator) -> Iterator[QuantTensor]:
    """The packed matrices that a product with `op` reads."""
    return (leaf.weight for leaf in leaves(op) if isinstance(leaf, MatMul))


def read_weights(op: Operator) -> Iterator[QuantTensor]:
    """Those of them that are read from the file, because no device has them."""
    return (
        leaf.weight
        for leaf in leaves(op)
        if isinstance(leaf, MatMul) and (leaf.store is None or not leaf.store.has(leaf.weight))
    )


def stored_elsewhere(op: Operator) -> bool:
    """Whether the weights live on a device of their own, and not in the file that the kernels read."""
    return any(isinstance(leaf, MatMul) and leaf.store is not None for leaf in leaves(op))


def stores(operators: Iterable[Operator]) -> list[DeviceWeights]:
    """The devices' weights that a product reads, each once."""
    met = (leaf.store for op in operators for leaf in leaves(op) if isinstance(leaf, MatMul))
    return list(dict.fromkeys(store for store in met if store is not None))


def widest(op: Operator) -> int:
    """The largest dimension of any vector inside a product with `op`; 0 where nothing tells."""
    met = 0
    for part in everything(op):
        met = max(met, part.inner_width, *(part.weight.shape if isinstance(part, MatMul) else ()))
    return met


def positions(op: Operator) -> int:
    """The positions that enter an operator which drops some; 0 for one that does not."""
    return max((leaf.n_positions for leaf in leaves(op) if isinstance(leaf, Select)), default=0)


def coefficient_bytes(operators: Iterable[Operator]) -> int:
    """Memory that the operators' own tensors hold; what several share counts once."""
    held = {
        value.untyped_storage()._cdata: value.untyped_storage().nbytes()
        for op in operators
        for part in everything(op)
        for value in vars(part).values()
        if isinstance(value, Tensor)
    }
    return sum(held.values())
