"""What the blocks of a layer write into the residual stream, found in the layer's operator.

Every block is a `Residual`: what came in (its skip) and what it writes (its branch), under a name. From what enters a
layer to what leaves it the skips form the direct path; operators between the blocks (factors, lanes that are
taken away) lie on it as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from ggufjac.operators import One, Operator, Residual, Sequential, Tally

#: Is shown, with a block's name, what the block writes, or the cotangent of that.
Seen: TypeAlias = "Callable[[str, Tensor], None]"


def written(op: Operator) -> tuple[str, ...]:
    """The names of the blocks on the direct path of a layer, the first one first."""
    if isinstance(op, Sequential):
        return tuple(name for part in op.operators for name in written(part))
    return (*written(op.skip), op.name) if isinstance(op, Residual) else ()


def write_of(op: Operator, name: str) -> Operator | None:
    """From what enters a layer to what the block called `name` writes; None where the layer has no such block."""
    if isinstance(op, Sequential):
        for i, part in enumerate(op.operators):
            found = write_of(part, name)
            if found is not None:
                return Sequential([*op.operators[:i], found])
    if isinstance(op, Residual):
        return op.branch if op.name == name else write_of(op.skip, name)
    return None


def follow(op: Operator, x: Tensor, one: One, seen: Seen) -> Tensor:
    """op.apply(x, one) for a layer; every block's write is shown on the way."""
    if isinstance(op, Sequential):
        for part in op.operators:
            x = follow(part, x, one, seen)
        return x
    if isinstance(op, Residual):
        kept, y = follow(op.skip, x, one, seen), op.branch.apply(x, one)
        seen(op.name, y)
        return kept + y
    return op.apply(x, one)


def retrace(op: Operator, g: Tensor, seen: Seen, tally: Tally = None) -> Tensor:
    """The cotangent g of a layer's output back along the direct path, past all branches.

    At every block the cotangent of its write is shown; the tally receives what constants on the path contribute.
    """
    if isinstance(op, Sequential):
        for part in reversed(op.operators):
            g = retrace(part, g, seen, tally)
        return g
    if isinstance(op, Residual):
        seen(op.name, g)
        return retrace(op.skip, g, seen, tally)
    return op.adjoint(g, tally)


def pulled_back(op: Operator, g: Tensor, seen: Seen) -> Tensor:
    """op.adjoint(g) for a layer; the cotangent of every block's write is shown on the way, the last one first."""
    if isinstance(op, Sequential):
        for part in reversed(op.operators):
            g = pulled_back(part, g, seen)
        return g
    if isinstance(op, Residual):
        seen(op.name, g)
        return pulled_back(op.skip, g, seen) + op.branch.adjoint(g)
    return op.adjoint(g)
