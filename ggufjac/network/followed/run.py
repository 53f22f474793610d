"""A run that takes its coefficients from llama.cpp's own run of the same prompt, roundings included.

Before a product with packed weights llama.cpp rounds what enters it, and it keeps values and probabilities in 16 bits.
Every such rounding is one more frozen coefficient here: the ratio of the rounded number to the exact one, 1 where both
are 0. Both are known bit for bit, since they are computed from what entered this very product in llama.cpp; so every
operator maps llama.cpp's input of its step to llama.cpp's output, and their product maps its embeddings to its result.
To imitate the rounding on values of our own would not do: one that differs in its last bit is rounded the other way,
and within two layers the difference is as large as the rounding.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ggufjac.errors import UserError
from ggufjac.families.parts import Run, activations
from ggufjac.llamacpp.recording import Recording
from ggufjac.llamacpp.rounding import gelu_table, round_rows
from ggufjac.network.followed.settings import LlamaSettings
from ggufjac.operators import BlockSum, Identity, MatMul, Operator, Parallel, Scale, Sequential
from ggufjac.quants.memory.store import DeviceWeights
from ggufjac.quants.minima import minima
from ggufjac.quants.tensor import QuantTensor
from ggufjac.reader.types import GGMLType

Found = TypeVar("Found")

#: A value that is further from llama.cpp's own, relative to its length, was computed from something else.
LOST = 1e-2

ATTENTION, CACHE, EXPERTS, GELU = "attention probabilities", "values in the cache", "choice of experts", "GELU table"


@dataclass(frozen=True)
class Remainder:
    """How far our value was from llama.cpp's before a step: |ours - theirs| / |theirs| at the worst position.

    It is computed from llama.cpp's values of the steps before, so that it belongs to the way between them and here.
    """

    layer: int
    part: str
    relative: float


@dataclass(frozen=True, kw_only=True)
class FollowedRun(Run):
    """The steps that llama.cpp rounds, as it took them.

    recording: its run, made with `settings`. kept: the positions that its last layer went on with. only: the parts of a
    layer that follow llama.cpp, the others being exact (None: all of them). seen: the parts that were met, by layer, in
    the order of computation. remainders: by layer and part.
    """

    recording: Recording
    settings: LlamaSettings
    kept: tuple[int, ...]
    only: frozenset[str] | None = None
    seen: dict[int, list[str]] = field(default_factory=dict)
    remainders: dict[tuple[int, str], Remainder] = field(default_factory=dict)

    mixes_latent = True

    @property
    def half(self) -> bool:
        """Whether llama.cpp's cache holds 16-bit numbers."""
        return self.settings.cache == "f16"

    def exact(self) -> Run:
        """The same run in exact arithmetic."""
        return Run(**self._plain())

    def elsewhere(self) -> Run:
        """A run that rounds by llama.cpp's rules what llama.cpp itself did not meet."""
        return RoundedRun(**self._plain())

    def _plain(self) -> dict[str, Any]:
        given = {item.name: getattr(self, item.name) for item in fields(Run)}
        return {**given, "shared": {}}

    def prefixes(self) -> list[FollowedRun]:
        """Of the layer that was built: runs in which none of its parts, the first, the first two, ... follow."""
        parts = self.seen.get(self.layer, [])
        return [replace(self, only=frozenset(parts[:n]), seen={}, shared=dict(self.shared)) for n in range(len(parts))]

    # --- the steps --------------------------------------------------------------------------------------------

    def product(self, weight: QuantTensor, x: Tensor) -> tuple[Operator, Tensor]:
        part = part_of(weight.name)
        if not self._follows(part):
            return super().product(weight, x)
        given, leaving = self._met(weight, x)
        entering = given.to(x)
        self._compare(part, x, entering)
        op, y = rounded_product(weight, given, x, self.store)
        return op, y if leaving is None else leaving.to(x)

    def stored(self, v: Tensor) -> tuple[Operator, Tensor]:
        if not self._follows(CACHE):
            return Identity(), v
        source = self.recording.read_from.get(self.layer, self.layer)
        given = self._found(self.recording.values.get(source), f"values of layer {source}")
        entering = torch.from_numpy(given[:, : v.shape[-1]]).to(v)
        self._compare(CACHE, v, entering)
        if not self.half:
            return Identity(), entering
        value = entering.half().to(v)
        return Scale(ratio(value, entering)), value

    def attended(self, x: Tensor, probabilities: Callable[[], Tensor]) -> Tensor:
        if not self._follows(ATTENTION):
            return probabilities()
        given = self._found(self.recording.probabilities.get(self.layer), f"attention of layer {self.layer}")
        rows = x.shape[-2] if self.rows is None else len(self.rows)
        p = torch.from_numpy(given).transpose(0, 1)
        p = self._rows_of(p, rows, ATTENTION).transpose(0, 1)
        return (p.half() if self.half else p).to(x)

    def routed(self, chosen: Tensor) -> Tensor:
        if not self._follows(EXPERTS):
            return chosen
        given = self._found(self.recording.chosen.get(self.layer), f"experts of layer {self.layer}")
        rows = self._rows_of(torch.from_numpy(given), chosen.shape[:-1].numel(), EXPERTS)
        return rows.reshape(chosen.shape).to(chosen.device)

    def gelu(self, u: Tensor) -> Tensor:
        if not self._follows(GELU):
            return activations.gelu(u)
        table = gelu_table()
        if table is None:
            return activations.gelu_table(u)
        numbers = u.to(torch.float16).cpu().view(torch.int16).int() & 0xFFFF
        return activations.tabulated_ratio(u, torch.from_numpy(table)[numbers])

    # --- what llama.cpp had there -----------------------------------------------------------------------------

    def _follows(self, part: str) -> bool:
        parts = self.seen.setdefault(self.layer, [])
        if part not in parts:
            parts.append(part)
        return self.only is None or part in self.only

    def _met(self, weight: QuantTensor, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """What entered the product with a weight at the positions of x, [m, n_in] float32, and what left it, where that
        was kept: an activation that follows is read from a table by its bits.

        Of several products with one weight, the one whose input is the nearest is meant.
        """
        found = self._found(self.recording.inputs.get(weight.name), f"product with {weight.name!r}")
        entering = [self._at_positions(torch.from_numpy(array), weight, x) for array in found]
        same = [given.shape == x.shape for given in entering]
        met = 0
        if len(entering) > 1 and all(same):
            met = min(range(len(entering)), key=lambda i: float((entering[i].to(x) - x).norm()))
        kept = self.recording.outputs.get(weight.name)
        if kept is None:
            return entering[met], None
        leaving = self._at_positions(torch.from_numpy(kept[met]), weight, x)
        start = weight.first % leaving.shape[-1]
        return entering[met], leaving[..., start : start + weight.n_out]

    def _at_positions(self, given: Tensor, weight: QuantTensor, x: Tensor) -> Tensor:
        part = part_of(weight.name)
        if self.taken is None:
            if given.dim() == 3:  # a stack of matrices, of which this is one
                given = given[weight.first // weight.n_out]
            return self._rows_of(given, x.shape[-2], part)
        tokens, rank = self.taken.tokens.cpu(), self.taken.rank.cpu()
        rows = self._rows_of(given, self.taken.rows, part)
        return rows[tokens, rank if rows.shape[1] > 1 else torch.zeros_like(rank)]

    def _rows_of(self, given: Tensor, n: int, part: str) -> Tensor:
        """The n positions of `given` [rows, ...] that are wanted: all, or those that the last layer goes on with."""
        if len(given) == n:
            return given
        if n == len(self.kept) < len(given):
            return given[list(self.kept)]
        raise UserError(f"layer {self.layer}, {part}: llama.cpp has {len(given)} positions there, not {n}")

    def _found(self, given: Found | None, what: str) -> Found:
        if given is None:
            raise UserError(f"llama.cpp's run shows no {what}, so it cannot be followed")
        return given

    def _compare(self, part: str, ours: Tensor, theirs: Tensor) -> None:
        if self.only is not None:
            return  # what came before may have been exact
        if ours.shape != theirs.shape:
            raise UserError(f"layer {self.layer}, {part}: llama.cpp has a value of shape {list(theirs.shape)} there")
        lengths = theirs.norm(dim=-1)
        relative = float(((ours - theirs).norm(dim=-1) / lengths.clamp(min=torch.finfo(lengths.dtype).tiny)).max())
        if not math.isfinite(relative):
            return  # the end of the pass tells which weight it comes from
        if relative > LOST:
            where = f"in layer {self.layer}" if self.layer >= 0 else "behind the layers"
            raise UserError(
                f"llama.cpp's run cannot be followed: what enters {part!r} {where} differs from it by {relative:.1e}"
            )
        known = self.remainders.get((self.layer, part))
        if known is None or known.relative < relative:
            self.remainders[self.layer, part] = Remainder(self.layer, part, relative)


class RoundedRun(Run):
    """A run that rounds what enters a product by llama.cpp's rules, at values of its own.

    Good for single steps, whose input is given; over many of them it and llama.cpp part.
    """

    def product(self, weight: QuantTensor, x: Tensor) -> tuple[Operator, Tensor]:
        return rounded_product(weight, x.detach().float().cpu(), x, self.store)


def rounded_product(
    weight: QuantTensor, entering: Tensor, like: Tensor, store: DeviceWeights | None = None
) -> tuple[Operator, Tensor]:
    """The product with what llama.cpp makes of `entering` [..., n_in] (float32, on the CPU), and its value.

    Both are as precise as `like`, and on its device, whose weights `store` has.
    """
    rounded = round_rows(weight.type, entering.numpy())
    value = torch.from_numpy(rounded.values).to(like)
    multiply: Operator = MatMul(weight, store)
    if rounded.sums is not None:
        # a block's sum is rounded once more before it is multiplied by the minimum
        more = torch.from_numpy(rounded.sums).to(like) - 1
        size = value.shape[-1] // more.shape[-1]
        multiply = Parallel([multiply, Sequential([BlockSum(size), Scale(more), MatMul(minima(weight), store)])])
    y = multiply.apply(value)
    if weight.type == GGMLType.F32:
        return multiply, y
    return Sequential([Scale(ratio(value, entering.to(like))), multiply]), y


def ratio(rounded: Tensor, exact: Tensor) -> Tensor:
    """rounded / exact, 1 where both are 0."""
    return torch.where(exact == 0, torch.ones_like(exact), rounded / torch.where(exact == 0, 1, exact))


def part_of(weight: str) -> str:
    """The name of a weight within its layer: "ffn_down" of "blk.3.ffn_down.weight"."""
    return re.sub(r"^blk\.\d+\.|\.weight$", "", weight)
