"""From one quantisation of a network to another, tensor by tensor.

Between the two lie as many hybrids as there are tensors that differ: the first n of them from the other file, the rest
from the one. Two neighbours differ in one tensor, so what the second one's result has over the first one's is what that
tensor's quantisation did, at the values that the other file's tensors before it make, nothing linearised. From the one
file's run to the other's these differences add up by construction. They are taken in the order of the network; in
another order single ones would be others, by what two tensors do together.

A hybrid differs from the one before it only from the first layer on that reads its tensor, and starts there from the
state that the other file's tensors have made; those of one layer go on side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from ggufjac.families import Family
from ggufjac.families.bases.mixed import MixedSource, reading
from ggufjac.families.bases.source import Source
from ggufjac.families.parts import Part, Run
from ggufjac.network.forward import build, propagate, run_of
from ggufjac.network.texts import embedded
from ggufjac.operators import Operator
from ggufjac.quants.memory.threads import kernels_first
from ggufjac.quants.tensor import QuantTensor

#: Positions of all hybrids of a layer that go on together.
ROWS = 1 << 9


def differing(one: Source, other: Source) -> list[str]:
    """The tensors whose type or bytes differ, in the order of the file."""
    return [name for name in one.file.tensors if not _same(one, other, name)]


def _same(one: Source, other: Source, name: str) -> bool:
    a, b = one.file, other.file
    return a.tensors[name].type == b.tensors[name].type and np.array_equal(a.data(name), b.data(name))


@dataclass(frozen=True)
class ProductsRun(Run):
    """A run that notes which matrices are multiplied, in their order."""

    met: list[str] = field(default_factory=list)

    def product(self, weight: QuantTensor, x: Tensor) -> tuple[Operator, Tensor]:
        self.met.append(weight.name)
        return super().product(weight, x)


@dataclass(frozen=True)
class Finals:
    """Hybrids that are ready for the head. names: the tensor that each takes over the one before it; states
    [n, T', d]: normalised, at the positions that count; head: from there to the logits."""

    names: tuple[str, ...]
    states: Tensor
    head: Part
    run: Run

    def logits(self, at: slice) -> Tensor:
        """[n, positions of the slice, n_vocab]."""
        return self.head.value(self.run, self.states[:, at])


class Hybrids:
    """The networks between two quantisations of one network, given as families of the same kind.

    names: of the tensors that take their places, in the order of the network; idle: tensors that differ and that no
    text passes. layers: of each of the names the first layer that reads it; -1 before all of them, n_layer behind them.
    """

    def __init__(self, one: Family, other: Family) -> None:
        self.one = one
        self.other = other
        found = differing(one.source, other.source)
        self._reads = [self._used_by(partial(type(one).layer, i=i)) for i in range(one.n_layer)]
        self._ends = self._used_by(type(one).final_norm) | self._used_by(type(one).output_head)
        whole = MixedSource(one.source, other.source)
        type(one)(whole)
        self.idle = tuple(name for name in found if name not in whole.used)
        stages = {name: self._stage(name) for name in found if name in whole.used}
        met = self._order()
        # what multiplies nothing (a norm, a bias) comes first of its layer
        self.names = tuple(sorted(stages, key=lambda name: (stages[name], met.get(name, -1))))
        self.layers = {name: stages[name] for name in self.names}

    def mixed(self, taken: Collection[str]) -> Family:
        """The whole network with these tensors of the other file."""
        return type(self.one)(MixedSource(self.one.source, self.other.source, taken))

    def finals(
        self, ids: Sequence[int], rows: tuple[int, ...], dtype: torch.dtype, where: torch.device
    ) -> Iterator[Finals]:
        """The one file's own run of a text, under no name, and then every hybrid, at these positions."""
        with kernels_first():
            yield from self._finals(list(ids), rows, dtype, where)

    def _finals(
        self, ids: list[int], rows: tuple[int, ...], dtype: torch.dtype, where: torch.device
    ) -> Iterator[Finals]:
        n_layer = self.one.n_layer
        run = run_of(ids)
        yield whole_run(self.one, ids, rows, dtype, where)
        front = self._between(-1)
        for i, name in enumerate(front):
            yield replace(whole_run(self._fronts[i], ids, rows, dtype, where), names=(name,))
        base = self._fronts[-1] if front else self.one
        parts, norm, head = list(base.layers), base.output_norm, base.head
        x = embedded(base, run.tokens, dtype).to(where)
        for layer in range(n_layer):
            names = self._between(layer)
            made = self._parts[layer]
            again = any(set(names) & self._reads[i] for i in range(layer + 1, n_layer))
            step = 1 if again else max(1, ROWS // len(ids))
            for start in range(0, len(names), step):
                piece = made[start : start + step]
                y, shared = self._side_by_side(run, layer, rows, [p[layer] for p in piece], x)
                behind = replace(run, shared=shared, constants={})
                for i in range(layer + 1, n_layer):
                    part = piece[0].get(i, parts[i])
                    y = build(part, behind.at(i, self._rows(i, rows)), y)[1]
                yield Finals(tuple(names[start : start + step]), norm.value(behind, y), head, behind)
            if names:
                parts = [made[-1].get(i, part) for i, part in enumerate(parts)]
            x = build(parts[layer], run.at(layer, self._rows(layer, rows)), x)[1]
        for name, (norm, head) in zip(self._between(n_layer), self._closings, strict=True):
            yield Finals((name,), norm.value(run, x)[None], head, run)

    def _side_by_side(
        self, run: Run, layer: int, rows: tuple[int, ...], parts: Sequence[Part], x: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What leaves a layer [n, T, d] made of each of the parts, and what it and those before it leave for later."""
        outputs, left = [], []
        for part in parts:
            own = replace(run, shared=dict(run.shared), constants={}).at(layer, self._rows(layer, rows))
            outputs.append(build(part, own, x)[1])
            left.append(own.shared)
        shared = {}
        for name, kept in left[0].items():
            values = [each[name] for each in left]
            shared[name] = kept if all(value is kept for value in values) else torch.stack(values)
        return torch.stack(outputs), shared

    def _rows(self, layer: int, rows: tuple[int, ...]) -> tuple[int, ...] | None:
        return rows if layer == self.one.n_layer - 1 else None

    # --- what the hybrids are made of -----------------------------------------------------------------------------

    @cached_property
    def _fronts(self) -> list[Family]:
        """The hybrids whose tensors are read before the layers, whole."""
        names = self._between(-1)
        return [self.mixed(names[: i + 1]) for i in range(len(names))]

    @cached_property
    def _parts(self) -> list[list[dict[int, Part]]]:
        """Of every layer its hybrids: the parts that the tensors so far make, of this layer and of later ones that read
        them too."""
        base = self._fronts[-1] if self._between(-1) else self.one
        before, found = set(self._between(-1)), []
        for layer in range(self.one.n_layer):
            here: list[dict[int, Part]] = []
            names = self._between(layer)
            for i, _ in enumerate(names):
                taken = set(names[: i + 1])
                family = reading(base, MixedSource(self.one.source, self.other.source, before | taken))
                here.append({k: family.layer(k) for k in range(layer, self.one.n_layer) if taken & self._reads[k]})
            before.update(names)
            found.append(here)
        return found

    @cached_property
    def _closings(self) -> list[tuple[Part, Part]]:
        """The norm and the head of the hybrids whose tensors are read behind the layers."""
        base = self._fronts[-1] if self._between(-1) else self.one
        names = self._between(self.one.n_layer)
        before = [name for name in self.names if name not in names]
        found = []
        for i in range(len(names)):
            source = MixedSource(self.one.source, self.other.source, {*before, *names[: i + 1]})
            family = reading(base, source)
            found.append((family.final_norm(), family.output_head()))
        return found

    def _between(self, stage: int) -> list[str]:
        return [name for name in self.names if self.layers[name] == stage]

    def _stage(self, name: str) -> int:
        if name == self.one.embedding.name:
            return -1
        first = next((i for i, names in enumerate(self._reads) if name in names), None)
        if first is not None:
            return first
        return self.one.n_layer if name in self._ends else -1

    def _used_by(self, make: Callable[[Family], object]) -> set[str]:
        """The tensors that a part of the family is made of."""
        source = MixedSource(self.one.source, self.other.source)
        make(reading(self.one, source))
        return source.used

    def _order(self) -> dict[str, int]:
        """The matrices by when a text first meets them; from a rehearsal without values."""
        run = run_of([0, 0])
        noted = ProductsRun(run.tokens, run.positions, run.n_ctx)
        with torch.no_grad():
            propagate(self.one, noted, torch.empty(2, self.one.d, device="meta"))
        return {name: i for i, name in enumerate(dict.fromkeys(noted.met))}


def whole_run(
    family: Family, ids: Sequence[int], rows: tuple[int, ...], dtype: torch.dtype, where: torch.device
) -> Finals:
    """A network's own run of a text, at these positions, under no name."""
    run = run_of(ids)
    with torch.no_grad(), kernels_first():
        x = embedded(family, run.tokens, dtype).to(where)
        for i, layer in enumerate(family.layers):
            x = build(layer, run.at(i, rows if i == family.n_layer - 1 else None), x)[1]
        return Finals((), family.output_norm.value(run, x)[None], family.head, run)
