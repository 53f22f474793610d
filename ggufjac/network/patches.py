"""Activation patching: a prompt is run with values of another prompt's run put in their places.

The base is one prompt's run (the corrupt one), the values come from the run of another prompt of as many tokens (the
clean one). At one layer and position the value takes the place of the base's: of the state that leaves the block, of
what one of its parts writes into the stream, or of what a head of attention reads. What follows is computed anew,
nothing is held.

Every patched run is the base's own up to its patch: it sets off from the base's state in the layer of its patch, and
from the position on at which the first of its neighbours is patched, where the layers keep keys and values. So all
runs of some positions go up the layers as one batch that grows from layer to layer, and each layer's weights are read
once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
from torch import Tensor

from ggufjac.errors import UserError
from ggufjac.families import Family
from ggufjac.families.parts import Continued, Past, Run
from ggufjac.families.parts.attention import Attention
from ggufjac.families.parts.run import Part
from ggufjac.network.batches import HEAD, INSIDE
from ggufjac.network.forward import ForwardPass, build, propagate, run_of
from ggufjac.quants.memory.readahead import AHEAD, Readahead
from ggufjac.quants.memory.store import DeviceWeights
from ggufjac.quants.memory.threads import kernels_first

#: What leaves a block, among the parts of it that can be patched: the residual stream, and what some families hand on
#: beside it in the same state.
STREAM = "stream"
#: What the heads of a layer's attention read, among what can be patched: of one head at a time.
HEADS = "heads"
#: Positions of all patched runs together that pass a layer at once, as long as that are several positions' runs.
ROWS = 1 << 11

#: From the logits of n runs [n, n_vocab] to a number for each [n].
Score: TypeAlias = "Callable[[Tensor], Tensor]"


@dataclass(frozen=True)
class Traced:
    """One prompt's run.

    done: its pass, the last layer at the last position alone; writes: what every block of every layer writes, [T, n]
    each, or [1, n] where the last layer has its last position alone; heads: what the heads of every layer's attention
    read, [T or 1, n_head, d_head], where it was asked for.
    """

    done: ForwardPass
    writes: Mapping[tuple[int, str], Tensor]
    heads: Mapping[int, Tensor] = field(default_factory=dict)

    def value(self, layer: int, part: str) -> Tensor:
        """The state that leaves a layer, or what a part of it writes, [T or 1, n]; of HEADS what they read."""
        if part == HEADS:
            return self.heads[layer]
        return self.done.states[layer + 1] if part == STREAM else self.writes[layer, part]

    def n_positions(self, layer: int, part: str) -> int:
        """The positions that such a value has: all, or the last one alone."""
        return self.value(layer, part).shape[-3 if part == HEADS else -2]

    @property
    def held_bytes(self) -> int:
        """Memory of what is kept."""
        return self.done.states_bytes + sum(write.nbytes for write in (*self.writes.values(), *self.heads.values()))

    def has(self, layer: int, part: str) -> bool:
        """Whether a layer has such a part."""
        return part == STREAM or (layer, part) in self.writes


def traced(
    family: Family,
    ids: Sequence[int],
    inputs: Tensor,
    store: DeviceWeights | None = None,
    n_ctx: int | None = None,
    *,
    heads: bool = False,
) -> Traced:
    """The run of a prompt, ids [T] and inputs [T, d], with what its blocks write and, if asked, what heads read."""
    writes: dict[tuple[int, str], Tensor] = {}
    read: dict[int, Tensor] = {}
    there = with_heads(family) if heads else ()

    def writing(layer: int, name: str, y: Tensor) -> Tensor:
        writes[layer, name] = y
        return y

    def mixing(layer: int, y: Tensor) -> Tensor:
        if layer in there:
            read[layer] = y
        return y

    with torch.no_grad():
        run = run_of(ids, n_ctx, store=store, writing=writing, mixing=mixing if heads else None)
        done = propagate(family, run, inputs, keep=0)
    return Traced(done, writes, read)


def parts_of(run: Traced) -> tuple[str, ...]:
    """What can be patched in a network: the stream, and what its blocks write, in the order of the layers."""
    return (STREAM, *dict.fromkeys(name for _, name in run.writes))


def with_heads(family: Family) -> tuple[int, ...]:
    """The layers with one block of attention that says what its heads read, and with nothing else that mixes positions:
    what a head is worth can then be told from the layer's operator alone."""
    layers = enumerate(family.layers)
    return tuple(i for i, layer in layers if [isinstance(part, Attention) for part in mixing_in(layer)] == [True])


def mixing_in(part: Part) -> Iterator[Part]:
    """The outermost parts of a part that mix positions."""
    if part.mixes:
        yield part
    else:
        for child in part.children:
            yield from mixing_in(child)


@dataclass(frozen=True)
class Patch:
    """The clean run's value at one place: of a part of a layer, at a position; of HEADS one head's."""

    part: str
    layer: int
    position: int
    head: int | None = None


@dataclass(frozen=True)
class Patched:
    """Two prompts of equal length: `base` is run, values of `source` are put into it.

    budget: bytes that the values of patched runs may take. passed: is told how many runs have passed one more layer.
    """

    family: Family
    ids: Sequence[int]
    base: Traced
    source: Traced
    budget: int
    passed: Callable[[int], None] | None = None

    def scores(self, patches: Sequence[Patch], score: Score) -> dict[Patch, float]:
        """What `score` says of the logits at the last position with each of the patches alone.

        A patch at a place that the last position does not depend on (in the last layer, at another one) is left out.
        Raises UserError where the budget does not hold one run.
        """
        kept = [patch for patch in patches if self._reaches(patch)]
        found: dict[Patch, float] = {}
        with torch.no_grad(), kernels_first():
            past = self._kept(max((patch.position for patch in kept), default=0))
            for chunk in self._chunks(kept):
                found |= dict(zip(chunk, score(self._run(chunk, past)).tolist(), strict=True))
        return found

    def heads(self, layers: Sequence[int], positions: Sequence[int], score: Score) -> dict[tuple[int, int], float]:
        """What `score` says with one head's clean value at all of the positions together, by layer and head."""
        first, last = min(positions), max(positions)
        patches = [
            Patch(HEADS, layer, first, head)
            for layer in layers
            for head in range(self.source.heads[layer].shape[-2])
            if self._reaches(Patch(HEADS, layer, last))
        ]
        found: dict[tuple[int, int], float] = {}
        with torch.no_grad(), kernels_first():
            past = self._kept(first)
            for chunk in self._chunks(patches):
                scores = score(self._run(chunk, past, tuple(positions))).tolist()
                found |= {(p.layer, p.head or 0): each for p, each in zip(chunk, scores, strict=True)}
        return found

    def all_at_once(self, layer: int, part: str, positions: Sequence[int], score: Score) -> float:
        """The same with the value put in at all of the positions together, in one run."""
        with torch.no_grad(), kernels_first():
            return float(score(self._run([Patch(part, layer, -1)], None, tuple(positions)))[0])

    # --- which runs go together -------------------------------------------------------------------------------

    def _reaches(self, patch: Patch) -> bool:
        return self.n_tokens - patch.position <= self.source.n_positions(patch.layer, patch.part)

    @property
    def n_tokens(self) -> int:
        return len(self.ids)

    def _chunks(self, patches: Sequence[Patch]) -> Iterator[list[Patch]]:
        """The patches in groups that are run side by side: those of neighbouring positions, the first ones first."""
        waiting = sorted(patches, key=lambda patch: (patch.position, patch.layer))
        while waiting:
            start = waiting[0].position if self.family.resumes else 0
            length = self.n_tokens - start
            most = self._most(length)
            first = sum(patch.position == waiting[0].position for patch in waiting)
            n = min(most, max(first, ROWS // length))
            if first < n < len(waiting):  # whole positions
                n = sum(patch.position < waiting[n].position for patch in waiting[:n])
            yield waiting[:n]
            waiting = waiting[n:]

    def _most(self, length: int) -> int:
        """How many runs of so many positions the budget holds, beside the base's own."""
        width = max(state.shape[-1] for state in self.base.done.states)
        inside = length * (2 * width + self.family.d * (INSIDE + self.n_tokens // HEAD))
        one = (inside + 2 * self.family.n_vocab) * self.base.done.states[0].element_size()
        if self.budget < 2 * one:
            raise UserError(
                f"the memory budget of {self.budget >> 20} MiB does not hold one patched run; the smallest is "
                f"{-(-2 * one // 2**20)} MiB"
            )
        return self.budget // one - 1

    # --- running them -----------------------------------------------------------------------------------------

    def _kept(self, n: int) -> Past | None:
        """The base's keys and values of the first n positions; None where the layers keep something else."""
        if not self.family.resumes or not n:
            return None
        past = Past(n)
        run = self._run_from(0, n, past)
        propagate(self.family, run, self.base.done.states[0][:n], keep=0)
        past.passed(run.positions)
        return past

    def _run_from(self, start: int, stop: int, past: Past | None) -> Run:
        tokens, positions = torch.tensor(list(self.ids[start:stop])), torch.arange(start, stop)
        context, store = self.base.done.run.n_ctx, self.base.done.run.store
        if past is None:
            return Run(tokens, positions, context, store=store)
        return Continued(tokens, positions, context, past=past, store=store)

    def _run(self, chunk: Sequence[Patch], past: Past | None, together: tuple[int, ...] = ()) -> Tensor:
        """The logits [n, n_vocab] of patched runs, in the order of the patches; together: the positions that are
        patched in every one of them.

        The base itself is the first row of the batch, from which the others branch off.
        """
        start = 0 if past is None else min(patch.position for patch in chunk)
        run = self._run_from(start, self.n_tokens, None if past is None or not start else past.first(start))
        x, rows = self.base.done.states[0][None, start:], [-1]
        family = self.family
        with Readahead() as ahead:
            for layer in range(family.n_layer):
                near = map(family.tensors_of, range(layer + 1, min(layer + 1 + AHEAD, family.n_layer)))
                ahead.ask(data for prefix in near for data in family.source.packed(prefix, run.store))
                inside = [i for i, p in enumerate(chunk) if p.layer == layer and p.part != STREAM]
                x = self._joined(run, x, len(inside))
                rows += inside
                places = {row: chunk[i] for row, i in enumerate(rows) if i in inside}
                last = (self.n_tokens - 1 - start,) if layer == family.n_layer - 1 else None
                here = replace(
                    run.at(layer, last),
                    writing=self._writing(layer, places, together),
                    mixing=self._mixing(places, together),
                )
                x = build(family.layers[layer], here, x)[1]
                leaving = [i for i, p in enumerate(chunk) if p.layer == layer and p.part == STREAM]
                before = len(x)
                x = self._joined(run, x, len(leaving))
                for row, i in enumerate(leaving, before):
                    self._put(x, row, chunk[i], together)
                rows += leaving
                if self.passed is not None:
                    self.passed(len(x))
        order = torch.tensor(rows).argsort()[1:].to(x.device)
        y = family.output_norm.value(run, x[order])
        return family.head.value(run, y)[:, 0]

    def _joined(self, run: Run, x: Tensor, n: int) -> Tensor:
        """n more copies of the base's row behind the others, also of what layers left for later ones."""
        if n:
            alone = self.base.done.run.shared
            for name, left in run.shared.items():
                if left.ndim > alone[name].ndim:  # what depends on the tokens alone is the same for all
                    run.shared[name] = _grown(left, n)
            x = _grown(x, n)
        return x

    def _writing(
        self, layer: int, places: Mapping[int, Patch], together: tuple[int, ...]
    ) -> Callable[[int, str, Tensor], Tensor] | None:
        """What puts the clean writes into the rows that are patched inside of this layer."""
        if not places:
            return None

        def writing(_: int, name: str, y: Tensor) -> Tensor:
            here = {row: patch for row, patch in places.items() if patch.part == name}
            if here:
                y = y.clone()
                for row, patch in here.items():
                    self._put(y, row, patch, together)
            return y

        return writing

    def _mixing(self, places: Mapping[int, Patch], together: tuple[int, ...]) -> Callable[[int, Tensor], Tensor] | None:
        """What puts the clean heads into the rows that are patched there."""
        here = {row: patch for row, patch in places.items() if patch.part == HEADS}
        if not here:
            return None

        def mixing(_: int, y: Tensor) -> Tensor:
            y = y.clone()
            for row, patch in here.items():
                self._put(y, row, patch, together)
            return y

        return mixing

    def _put(self, y: Tensor, row: int, patch: Patch, together: tuple[int, ...]) -> None:
        value = self.source.value(patch.layer, patch.part)
        n = self.source.n_positions(patch.layer, patch.part)
        for position in together or (patch.position,):
            at = position - self.n_tokens  # from the end, where the last layer may have its last position alone
            if -at <= n and patch.head is None:
                y[row, at] = value[at]
            elif -at <= n:
                y[row, at, patch.head] = value[at, patch.head]


def _grown(x: Tensor, n: int) -> Tensor:
    return torch.cat((x, x[:1].expand(n, *x.shape[1:])))
