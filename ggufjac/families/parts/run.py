"""One prompt's pass through the network, and the shape of a building block.

A part is handed the value that enters it and returns the operator of that part for this value, together with the
operator's output. What the part freezes it computes from `run.freeze(x)`, so one description yields the forward
value, the detached map (coefficients constant) and, when nothing is detached, the ordinary derivative.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from torch import Tensor

from ggufjac.operators import Operator

#: Sees every named intermediate value (llama.cpp's names, "attn_norm-3") and returns the value to go on with.
Watch: TypeAlias = "Callable[[str, Tensor], Tensor]"


@dataclass(frozen=True)
class Run:
    """How one prompt is run.

    positions: [T] int64, the prompt's positions.
    n_ctx: the context length that the run pretends to have (some position encodings depend on it).
    detached: freeze the coefficients (the detached Jacobian) or leave them attached to autograd (the ordinary one).
    path: which factor of a gated MLP stays live; "up" is the definition, "gate" the named alternative.
    gelu_table: evaluate GELU as llama.cpp does on the CPU, through values rounded to float16; for comparisons only.
    rows: the positions whose output is needed from the layer in hand; None for all of them.
    """

    positions: Tensor
    n_ctx: int
    detached: bool = True
    path: Literal["up", "gate"] = "up"
    gelu_table: bool = False
    watch: Watch | None = None
    layer: int = -1
    rows: tuple[int, ...] | None = None

    def at(self, layer: int, rows: tuple[int, ...] | None = None) -> Run:
        """The same run inside one layer."""
        return replace(self, layer=layer, rows=rows)

    def freeze(self, x: Tensor) -> Tensor:
        """x as the coefficients see it."""
        return x.detach() if self.detached else x

    def value(self, name: str, x: Tensor) -> Tensor:
        """Announce a named intermediate value; what comes back is the value to go on with."""
        if self.watch is None:
            return x
        return self.watch(f"{name}-{self.layer}" if self.layer >= 0 else name, x)


class Part(ABC):
    """A building block of a network: from the value that enters, its operator and the operator's output."""

    #: Whether the part mixes positions, and so returns only `run.rows` where they are set.
    narrows: bool = False

    @abstractmethod
    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        """The operator at this value x [..., T, n], and its output on x."""

    def value(self, run: Run, x: Tensor) -> Tensor:
        """The output alone, for parts that only serve to compute a coefficient."""
        return self.build(run, x)[1]
