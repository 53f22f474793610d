"""What an analysis will cost, before it runs: operations, bytes read and memory from a rehearsal, time from a trial.

The rehearsal plays the analysis through without numbers, one layer of every shape; the trial builds one layer and sends
a few columns through it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ggufjac.families import Family
from ggufjac.maps import sweeps
from ggufjac.maps.costs.rehearsal import EmptyKernels, EmptyRoad, Rehearsal
from ggufjac.maps.linear import LinearMap
from ggufjac.network.forward import path_weights, propagate, run_of
from ggufjac.operators import Operator, built
from ggufjac.operators.fold import PerToken, fold
from ggufjac.operators.walk import coefficient_bytes, leaves, read_weights, weights
from ggufjac.quants.device.choice import kernels_of
from ggufjac.quants.device.kernels import Kernels
from ggufjac.quants.memory.budget import Budget, folded_within
from ggufjac.quants.memory.devices import available_memory, synchronize
from ggufjac.quants.memory.road import CudaRoad, road_to
from ggufjac.quants.memory.store import DeviceWeights
from ggufjac.quants.memory.threads import kernels_first, shared_out
from ggufjac.rules import DETACHED, Rules

CPU = torch.device("cpu")
#: A trial's shortest time in seconds; shorter ones are repeated. Other programs on the same cores take turns of some
#: 10 ms: in 0.05 s one met all of them or none, and rates between 42 and 126 GFLOP/s were measured for the same layer.
#: Several works are tried in turns of TURN seconds, so that all of them meet the same machine.
TRIAL, TURN = 0.5, 0.1
#: Tokens whose folded MLPs are tried: more than the caches hold, as in a whole prompt.
FEW = 16


@dataclass(frozen=True)
class Cost:
    """flops: operations of products, 2 per multiply-add; read: bytes of packed weights; peak: bytes of values at
    once, without the coefficients. dense: how many of the operations are those of folded MLPs; pieces: of columns, in
    all layers together."""

    flops: int
    read: int
    peak: int
    dense: int = 0
    pieces: int = 0


class Planner:
    """Rehearses the map of a prompt of n_tokens within `memory` bytes.

    device: where; on one of its own, weights are sent there and some stay, and peaks count these too. rules: by which
    the network is linearised.
    """

    def __init__(
        self,
        family: Family,
        n_tokens: int,
        memory: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device = CPU,
        rules: Rules = DETACHED,
    ) -> None:
        self.family = family
        self.n_tokens = n_tokens
        self.memory = memory
        self.dtype = dtype
        self.device = device
        x = torch.empty(n_tokens, family.d, dtype=dtype, device="meta")
        budget, store = _placed(family, device, memory)
        #: The device's weights without values.
        self.store = store
        if store is not None and budget.weights < family.source.weight_bytes:
            store.arrange(path_weights(family, n_tokens))
        with torch.no_grad(), Rehearsal() as seen:
            run = run_of([0] * n_tokens, rules=rules, store=store)
            trace = propagate(family, run, x, keep=budget.most_coefficients)
        self.states_bytes = trace.states_bytes
        #: The map without numbers.
        self.map = LinearMap(x, (*trace.layers, trace.final), trace.output[0], budget.holding(states=self.states_bytes))
        self.coefficient_bytes = coefficient_bytes(self.map.operators)
        #: Bytes of the weights that stay on a device of its own, and of the buffers through which the others pass.
        self.resident = 0 if store is None else store.kept_bytes
        self.passing = CudaRoad.reserved if device.type == "cuda" else 0
        #: The coefficient pass; its peak counts the coefficients and the weights that stay too.
        self.prefill = Cost(seen.flops, self._layer_bytes(), seen.peak)

    def sweep(self, columns: int, *, transposed: bool, numbers: int | None = None) -> Cost:
        """One sweep of so many columns, repeated in pieces where the budget does not hold them at once. numbers: of a
        column's result (None: those of the map).

        The peak counts the result where it is kept in memory.
        """
        step, on_disk = self.map.cut(columns, transposed=transposed, numbers=numbers)
        times = -(-columns // step)
        flops = peak = dense = pieces = 0
        for shape in self._shapes:
            seen = shape.rehearse(step, self.map.room, self.dtype, transposed)
            flops += shape.count * seen.flops
            peak = max(peak, seen.peak)
            pieces += shape.count * times * shape.pieces(step, self.map.room, self.dtype, transposed)
            dense += shape.count * sum(2 * columns * m.numel() for m in shape.folded(step, self.map.room, transposed))
        d, n_tokens, d_in = self.map.shape
        if numbers is None:
            numbers = n_tokens * d_in if transposed else d
        kept = 0 if on_disk or times == 1 else columns * numbers * self.dtype.itemsize
        return Cost(int(flops * columns / step), self._read * times, peak + kept, dense, pieces)

    def folded(self, columns: int) -> tuple[int, int] | None:
        """Rows and columns of a token's folded MLP, where a sweep of so many columns folds any."""
        step, _ = self.map.cut(columns, transposed=True)
        found = (m for shape in self._shapes for m in shape.folded(step, self.map.room, True))
        return next(((m.shape[1], m.shape[2]) for m in found), None)

    def peak(self, sweep: Cost) -> int:
        """Bytes at the worst moment of the coefficient pass and such a sweep, with all that is held then."""
        held = self.coefficient_bytes + self.states_bytes + self.resident
        return self.passing + max(self.prefill.peak, held + sweep.peak)

    @cached_property
    def _read(self) -> int:
        return sum(weight.nbytes for op in self.map.operators for weight in read_weights(built(op)))

    def _layer_bytes(self) -> int:
        """Bytes of the layers' weights, for every pass through them; of experts, those that so many tokens choose at
        most."""
        source, loops = self.family.source, self.family.loops
        most, used = source.integer("expert_count", 0), source.integer("expert_used_count", 0)
        share = min(1.0, self.n_tokens * used / most) if most else 1.0
        layers = [info for name, info in source.file.tensors.items() if name.startswith("blk.")]
        return loops * int(sum(info.nbytes * (share if len(info.plain_shape) == 3 else 1) for info in layers))

    @cached_property
    def _shapes(self) -> list[_Shape]:
        found: dict[object, _Shape] = {}
        shape = tuple(self.map.inputs.shape)
        with torch.no_grad():
            for op in self.map.operators:
                now = built(op)
                out = tuple(now.apply(torch.empty(1, *shape, dtype=self.dtype, device="meta")).shape[1:])
                key = (tuple((w.type, w.shape) for w in weights(now)), coefficient_bytes([now]), shape, out)
                if key in found:
                    found[key].count += 1
                else:
                    found[key] = _Shape(now, 1, shape, out)
                shape = out
        return list(found.values())


def _placed(family: Family, device: torch.device, memory: int) -> tuple[Budget, DeviceWeights | None]:
    """The budget on a device, and the store that it would have there, on a device without values."""
    budget = Budget.on(device, memory, family.source.weight_bytes)
    if device.type == "cpu":
        return budget, None
    real = kernels_of(device)
    kernels = real if type(real) is Kernels else EmptyKernels(fast_halves=real.fast_halves)
    meta = torch.device("meta")
    return budget, DeviceWeights(meta, budget.weights, kernels, EmptyRoad(meta))


@dataclass
class _Shape:
    """An operator without numbers, how many there are like it, and the shapes [T, n] that it takes and gives."""

    op: Operator
    count: int
    takes: tuple[int, ...]
    gives: tuple[int, ...]

    def folded(self, columns: int, room: int, transposed: bool) -> list[Tensor]:
        """The matrices [T, n_out, n_in] of the MLPs that a sweep of so many columns folds."""
        if not transposed:
            return []
        with torch.no_grad():
            return [
                op.matrices for op in leaves(fold(self.op, columns, folded_within(room))) if isinstance(op, PerToken)
            ]

    def pieces(self, columns: int, room: int, dtype: torch.dtype, transposed: bool) -> int:
        """In how many pieces so many columns pass."""
        x = torch.empty(columns, *(self.gives if transposed else self.takes), dtype=dtype, device="meta")
        return -(-columns // sweeps.piece_columns(self.op, x, room))

    def rehearse(self, columns: int, room: int, dtype: torch.dtype, transposed: bool) -> Rehearsal:
        seen = Rehearsal()
        with torch.no_grad(), kernels_first(), seen:
            x = torch.empty(columns, *(self.gives if transposed else self.takes), dtype=dtype, device="meta")
            if transposed:
                sweeps.back_through(self.op, x, room, owned=True)
            else:
                sweeps.through(self.op, x, None, room, owned=True)
        return seen


@dataclass(frozen=True)
class Rates:
    """What this machine does with this model.

    prefill, sweep: operations per second in the coefficient pass and in sweeps of many columns; dense: those of a
    sweep in matrices of single tokens (folded MLPs); piece: seconds that a piece of columns takes in a layer beside
    its operations. read: bytes per second from the file as it lies there now (on the disk, perhaps), to a device of its
    own where it is planned for one; again: for every further sweep.
    """

    prefill: float
    sweep: float
    dense: float
    piece: float
    read: float
    again: float

    def passing(self, cost: Cost) -> float:
        """Seconds of a coefficient pass; computing and reading overlap."""
        return max(cost.flops / self.prefill, cost.read / self.read)

    def sweeping(self, cost: Cost) -> float:
        """Seconds of a sweep."""
        computing = (cost.flops - cost.dense) / self.sweep + cost.dense / self.dense + cost.pieces * self.piece
        return max(computing, cost.read / self.again)


def trial(planner: Planner, columns: int) -> Rates:
    """Build one layer at random values and send one column, and those of a piece of so many, through it.

    What comes beside the operations (weights that are expanded for few rows, calls) is told from the two.
    """
    family, dtype, device = planner.family, planner.dtype, planner.device
    store = family.source.placed(device, planner.memory).store
    run = run_of([0] * planner.n_tokens, store=store).at(0)
    x = torch.randn(planner.n_tokens, family.d, dtype=dtype).to(device)
    with torch.no_grad(), kernels_first():
        read, again = _rates(planner)
        op = family.layers[0].build(run, x)[0]
        g = x.new_empty(1, *x.shape)
        width = min(columns, sweeps.piece_columns(op, g, planner.map.room))
        g = torch.randn(width, *op.apply(g[:, :]).shape[1:], dtype=dtype).to(device)
        threads = sweeps.side_by_side(op, g, columns, width, planner.map.room)

        def passing(step: Callable[[Tensor], Tensor], g: Tensor) -> Callable[[], object]:
            return lambda: list(shared_out(step, [g] * threads, threads)) if threads > 1 else step(g)

        works = [lambda: family.layers[0].build(run, x), passing(op.adjoint, g), passing(op.adjoint, g[:1])]
        matrices = planner.folded(columns)
        if matrices is not None:
            folded, y = _folded(matrices, g)
            works.append(passing(folded.adjoint, y))
        prefill, *passed = _seconds(works, device)
        many, one, *dense = (seconds / threads for seconds in passed)
    empty = run_of([0] * planner.n_tokens, store=planner.store).at(0)
    with torch.no_grad(), Rehearsal() as built_once:
        shadow = family.layers[0].build(empty, torch.empty(x.shape, dtype=dtype, device="meta"))[0]
    with torch.no_grad(), Rehearsal() as swept:
        shadow.adjoint(torch.empty(g.shape, dtype=dtype, device="meta"))
    beside = max(0.0, (width * one - many) / (width - 1)) if width > 1 else 0.0
    sweep = swept.flops / (many - min(beside, many / 2))
    dense_rate = 2 * y.numel() * folded.matrices.shape[-1] / dense[0] if dense else sweep
    return Rates(built_once.flops / prefill, sweep, dense_rate, beside, read, again)


def _folded(matrices: tuple[int, int], g: Tensor) -> tuple[PerToken, Tensor]:
    """A folded MLP of so many rows and columns at a few tokens, and as many columns for it as g [n, T, d] has."""
    few, (n_out, n_in) = min(FEW, g.shape[1]), matrices
    op = PerToken(torch.randn(few, n_out, n_in, dtype=g.dtype).to(g.device))
    return op, torch.randn(len(g), few, n_out, dtype=g.dtype).to(g.device)


def _rates(planner: Planner) -> tuple[float, float]:
    """Bytes per second of a layer's weights, read where the kernels find them or sent to the device: as they lie there
    now, and once they were met."""
    family, source = planner.family, planner.family.source
    packed = list(source.packed(family.tensors_of(family.n_layer // 2)))
    nbytes = sum(data.nbytes for data in packed)
    if planner.device.type != "cpu":
        road = road_to(planner.device)
        rate = nbytes / _seconds([lambda: [road.settle(data) for data in packed]], planner.device)[0]
        return rate, rate

    def touch() -> list[int]:
        return [int(data[:, ::4096].sum()) for data in packed]

    begun = time.perf_counter()
    touch()
    first = nbytes / (time.perf_counter() - begun)
    available = available_memory()
    stays = available is None or source.pages.fits(max(available - planner.memory, available // 2))
    return first, nbytes / _seconds([touch], planner.device)[0] if stays else first


def _seconds(works: Sequence[Callable[[], object]], device: torch.device) -> list[float]:
    """The time of one call of each, from as many as a trial takes."""
    calls, spent = [0] * len(works), [0.0] * len(works)
    for work in works:
        work()  # a device compiles its kernels first
    synchronize(device)
    while min(spent) < TRIAL:
        for i, work in enumerate(works):
            begun = time.perf_counter()
            while time.perf_counter() - begun < TURN:
                work()
                synchronize(device)
                calls[i] += 1
            spent[i] += time.perf_counter() - begun
    return [total / n for total, n in zip(spent, calls, strict=True)]
