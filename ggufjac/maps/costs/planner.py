"""What an analysis will cost, before it runs: operations, bytes read and memory from a rehearsal, time from a trial.

The rehearsal plays the analysis through without numbers, one layer of every shape; the trial builds one layer and sends
a few columns through it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import torch

from ggufjac.families import Family
from ggufjac.maps import sweeps
from ggufjac.maps.costs.rehearsal import EmptyKernels, EmptyRoad, Rehearsal
from ggufjac.maps.linear import LinearMap
from ggufjac.network.forward import path_weights, propagate, run_of
from ggufjac.operators import Operator, built
from ggufjac.operators.walk import coefficient_bytes, read_weights, weights
from ggufjac.quants.device.choice import kernels_of
from ggufjac.quants.device.kernels import Kernels
from ggufjac.quants.memory.budget import Budget
from ggufjac.quants.memory.devices import synchronize
from ggufjac.quants.memory.road import CudaRoad, road_to
from ggufjac.quants.memory.store import DeviceWeights
from ggufjac.quants.memory.threads import kernels_first
from ggufjac.rules import DETACHED, Rules

CPU = torch.device("cpu")
#: A trial's shortest time in seconds; shorter ones are repeated.
TRIAL = 0.05


@dataclass(frozen=True)
class Cost:
    """flops: operations of products, 2 per multiply-add; read: bytes of packed weights; peak: bytes of values at
    once, without the coefficients."""

    flops: int
    read: int
    peak: int


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

    def sweep(self, columns: int, *, transposed: bool) -> Cost:
        """One sweep of so many columns, repeated in pieces where the budget does not hold them at once.

        The peak counts the result where it is kept in memory.
        """
        step, on_disk = self.map.cut(columns, transposed=transposed)
        times = -(-columns // step)
        flops = peak = 0
        for shape in self._shapes:
            seen = shape.rehearse(step, self.map.room, self.dtype, transposed)
            flops += shape.count * seen.flops
            peak = max(peak, seen.peak)
        d, n_tokens, d_in = self.map.shape
        kept = 0 if on_disk or times == 1 else columns * (n_tokens * d_in if transposed else d) * self.dtype.itemsize
        return Cost(int(flops * columns / step), self._read * times, peak + kept)

    def peak(self, sweep: Cost) -> int:
        """Bytes at the worst moment of the coefficient pass and such a sweep, with all that is held then."""
        held = self.coefficient_bytes + self.states_bytes + self.resident
        return self.passing + max(self.prefill.peak, held + sweep.peak)

    @cached_property
    def _read(self) -> int:
        return sum(weight.nbytes for op in self.map.operators for weight in read_weights(built(op)))

    def _layer_bytes(self) -> int:
        """Bytes of the layers' weights; of experts, those that so many tokens choose at most."""
        source = self.family.source
        most, used = source.integer("expert_count", 0), source.integer("expert_used_count", 0)
        share = min(1.0, self.n_tokens * used / most) if most else 1.0
        layers = [info for name, info in source.file.tensors.items() if name.startswith("blk.")]
        return int(sum(info.nbytes * (share if len(info.plain_shape) == 3 else 1) for info in layers))

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
    """What this machine does with this model: operations per second in the coefficient pass and in sweeps, and bytes
    per second from the file as it lies there now (in memory, perhaps), to a device of its own where it is planned for
    one."""

    prefill: float
    sweep: float
    read: float


def trial(planner: Planner, columns: int) -> Rates:
    """Build one layer at random values and send the columns of one piece through it."""
    family, dtype, device = planner.family, planner.dtype, planner.device
    store = family.source.placed(device, planner.memory).store
    run = run_of([0] * planner.n_tokens, store=store).at(0)
    x = torch.randn(planner.n_tokens, family.d, dtype=dtype).to(device)
    seconds = partial(_seconds, device=device)
    with torch.no_grad(), kernels_first():
        read = _rate(planner, seconds)
        op = family.layers[0].build(run, x)[0]
        prefill = seconds(lambda: family.layers[0].build(run, x))
        g = x.new_empty(1, *x.shape)
        width = min(columns, sweeps.piece_columns(op, g, planner.map.room))
        g = torch.randn(width, *op.apply(g[:, :]).shape[1:], dtype=dtype).to(device)
        sweep = seconds(lambda: op.adjoint(g))
    empty = run_of([0] * planner.n_tokens, store=planner.store).at(0)
    with torch.no_grad(), Rehearsal() as built_once:
        shadow = family.layers[0].build(empty, torch.empty(x.shape, dtype=dtype, device="meta"))[0]
    with torch.no_grad(), Rehearsal() as swept:
        shadow.adjoint(torch.empty(g.shape, dtype=dtype, device="meta"))
    return Rates(built_once.flops / prefill, swept.flops / sweep, read)


def _rate(planner: Planner, seconds: Callable[[Callable[[], object]], float]) -> float:
    """Bytes per second of a layer's weights: read where the kernels find them, or sent to the device."""
    packed = list(planner.family.source.packed("blk.0."))
    if planner.device.type == "cpu":
        took = seconds(lambda: [int(data[:, ::4096].sum()) for data in packed])
    else:
        road = road_to(planner.device)
        took = seconds(lambda: [road.settle(data) for data in packed])
    return sum(data.nbytes for data in packed) / took


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """The time of one call, from as many as a trial takes."""
    work()  # a device compiles its kernels first
    synchronize(device)
    calls, begun = 0, time.perf_counter()
    while True:
        work()
        synchronize(device)
        calls += 1
        spent = time.perf_counter() - begun
        if spent > TRIAL:
            return spent / calls
