"""One prompt's pass through the network, and the shape of a building block.

A part is handed the value that enters it and returns the operator of that part at this value, by the run's rules,
together with the part's output. The output is the same under all rules, and where the run is attached to autograd, the
derivative of the output follows the rules as well: that judges the operators, and serves parts that have none of
their own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import ClassVar, TypeAlias

from torch import Tensor

from ggufjac.families.parts import activations
from ggufjac.families.parts.activations import Ratio
from ggufjac.operators import Identity, MatMul, Operator
from ggufjac.quants.memory.store import DeviceWeights
from ggufjac.quants.tensor import QuantTensor
from ggufjac.rules import DETACHED, Rules

#: Sees every named intermediate value (llama.cpp's names, "attn_norm-3") and returns the value to go on with.
Watch: TypeAlias = "Callable[[str, Tensor], Tensor]"
#: Sees what every block of a layer writes into the stream (the layer's number, the block's name, the write
#: [..., T, n]) and returns what is added to the stream.
Writing: TypeAlias = "Callable[[int, str, Tensor], Tensor]"
#: Sees what the heads of a layer's attention read (the layer's number, the values [..., T, n_head, d_head]) and returns
#: what the output projection goes on with.
Mixing: TypeAlias = "Callable[[int, Tensor], Tensor]"


@dataclass(frozen=True)
class Taken:
    """Which positions an expert sees: of `rows` positions the `tokens` [m], which made it their choice number `rank`
    [m]."""

    tokens: Tensor
    rank: Tensor
    rows: int


@dataclass(frozen=True)
class Run:
    """How one prompt is run: in exact arithmetic, unless a subclass says otherwise.

    tokens, positions: [T] int64, the numbers of the prompt's tokens and their positions; tokens of several texts that
    are run side by side are [..., T].
    n_ctx: the context length that the run pretends to have (some position encodings depend on it).
    rules: how every kind of part is linearised. attached: autograd differentiates the outputs, by the rules; what
    operators a part returns then is of no account.
    gelu_table: evaluate GELU as llama.cpp does on the CPU, through values rounded to float16; for comparisons only.
    rows: the positions whose output is needed from the layer in hand; None for all of them.
    left: the positions that the values in hand are of, behind an attention that dropped the others; None for all.
    shared: coefficients that earlier layers leave for later ones (keys that are used again), by name.
    constants: what is made once, by `constant`: what depends on the positions alone, and vectors of the file.
    taken: inside an expert, the positions that it sees.
    store: the packed weights of the device on which it is run; None: the file's.
    writing: sees, and may replace, what blocks write into the stream; mixing: what the heads of attention read.
    """

    #: Whether latent attention mixes the latent vectors and makes values of them afterwards, as llama.cpp does; before
    #: is cheaper and, without rounding, the same.
    mixes_latent: ClassVar[bool] = False

    tokens: Tensor
    positions: Tensor
    n_ctx: int
    attached: bool = False
    rules: Rules = DETACHED
    gelu_table: bool = False
    watch: Watch | None = None
    layer: int = -1
    rows: tuple[int, ...] | None = None
    left: tuple[int, ...] | None = None
    shared: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[Hashable, tuple[Tensor, ...]] = field(default_factory=dict)
    taken: Taken | None = None
    store: DeviceWeights | None = None
    writing: Writing | None = None
    mixing: Mixing | None = None

    def at(self, layer: int, rows: tuple[int, ...] | None = None) -> Run:
        """The same run inside one layer."""
        return replace(self, layer=layer, rows=rows)

    def narrowed(self) -> Run:
        """The same run behind the part that drops the positions which are not needed."""
        return self if self.rows is None else replace(self, rows=None, left=self.rows)

    def live(self, *kinds: str) -> bool:
        """Whether operators need the derivative of any part of these kinds, the names of rules."""
        return not self.attached and any(getattr(self.rules, kind) != getattr(DETACHED, kind) for kind in kinds)

    def freeze(self, x: Tensor, kind: str = "coefficients") -> Tensor:
        """x as a part of this kind, the name of a rule, sees it for what the rule may freeze."""
        frozen = getattr(self.rules, kind) == getattr(DETACHED, kind)
        return x.detach() if frozen or not self.attached else x

    def share(self, x: Tensor, amount: float) -> Tensor:
        """x as one of several factors sees it: autograd takes so much of its derivative."""
        if not self.attached or amount == 1:
            return x
        return x.detach() if amount == 0 else amount * x + (1 - amount) * x.detach()

    def value(self, name: str, x: Tensor) -> Tensor:
        """Announce a named intermediate value; what comes back is the value to go on with."""
        if self.watch is None:
            return x
        return self.watch(f"{name}-{self.layer}" if self.layer >= 0 else name, x)

    def written(self, name: str, y: Tensor) -> Tensor:
        """Announce what the block of this name writes into the stream; what comes back is what is added to it."""
        return y if self.writing is None else self.writing(self.layer, name, y)

    def mixed(self, y: Tensor, n_head: int) -> Tensor:
        """Announce what the heads of attention read, side by side [..., T, n]; what comes back goes on in its place."""
        if self.mixing is None:
            return y
        return self.mixing(self.layer, y.unflatten(-1, (n_head, -1))).flatten(-2)

    def within(self) -> Run:
        """The same run inside of a block, where nothing is written into the stream."""
        return self if self.writing is None else replace(self, writing=None)

    def constant(self, key: Hashable, like: Tensor, make: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What `make` gives for values like this one, the first time that a layer asks. key: what it depends on beside
        the run."""
        known = (key, like.device, like.dtype)
        if known not in self.constants:
            self.constants[known] = make()
        return self.constants[known]

    def fitted(self, vector: Tensor, like: Tensor) -> Tensor:
        """A vector of the file as precise as a value, and where that is."""
        return self.constant(vector, like, lambda: (vector.to(like),))[0]

    def elsewhere(self) -> Run:
        """The run for values that it does not come by itself."""
        return self

    # --- where a text goes on from positions that were run before ---------------------------------------------

    @property
    def readable(self) -> Tensor:
        """The positions [T'] that a query can look at; the run's own are the last ones."""
        return self.positions

    def with_past(self, name: str, own: Tensor) -> Tensor:
        """Something else that a text keeps of its positions, by name: of those before, and behind it the run's own
        [..., T, n]."""
        return own

    def all_keys(self, k: Tensor) -> tuple[Operator, Tensor]:
        """From the keys k [..., T, n] of the run's own positions to those of all, [..., T', n]."""
        return Identity(), k

    # --- where computing with rounded numbers differs ---------------------------------------------------------

    def product(self, weight: QuantTensor, x: Tensor) -> tuple[Operator, Tensor]:
        """The product x W^T at this value x [..., n_in], and its value."""
        op = MatMul(weight, self.store)
        return op, op.apply(x)

    def stored(self, v: Tensor) -> tuple[Operator, Tensor]:
        """What becomes of the values v [..., T, n] that a layer keeps for all later positions."""
        return Identity(), v

    def attended(self, x: Tensor, probabilities: Callable[[], Tensor]) -> Tensor:
        """What the layer's attention reads at this value x [..., T, n] of its input: P [..., n_head, Tq, T]."""
        return probabilities()

    def routed(self, chosen: Tensor) -> Tensor:
        """The numbers of the layer's experts that every position takes, [n_tokens, used]."""
        return chosen

    def gelu(self, u: Tensor) -> Tensor:
        """GELU's ratio gelu(u)/u."""
        return activations.gelu_table(u) if self.gelu_table else activations.gelu(u)


class Part(ABC):
    """A building block of a network: from the value that enters, its operator and the operator's output.

    mixes: whether it mixes positions itself, and so returns only `run.rows` where they are set. keeps: whether a
    `Continued` run holds what the mixing needs of positions before (keys and values). ratio: the activation in it, if
    there is one. What its children say of these holds for it as well.
    """

    mixes: ClassVar[bool] = False
    keeps: ClassVar[bool] = False
    ratio: Ratio | None = None

    @property
    def children(self) -> tuple[Part, ...]:
        """The parts of which this one is made."""
        return ()

    @property
    def narrows(self) -> bool:
        """Whether the part returns only `run.rows` where they are set."""
        return self.mixes or any(child.narrows for child in self.children)

    @property
    def resumes(self) -> bool:
        """Whether the part can go on from positions that a `Continued` run has behind it."""
        return (self.keeps or not self.mixes) and all(child.resumes for child in self.children)

    def uses(self, ratio: Ratio) -> bool:
        """Whether this activation is anywhere in the part."""
        return self.ratio is ratio or any(child.uses(ratio) for child in self.children)

    @abstractmethod
    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        """The operator at this value x [..., T, n], and its output on x."""

    def value(self, run: Run, x: Tensor) -> Tensor:
        """The output alone, for parts that only serve to compute a coefficient."""
        return self.build(run, x)[1]
