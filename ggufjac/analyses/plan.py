"""What an analysis will take of memory, disk and time, told before it runs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, get_args

import torch

from ggufjac.analyses.common.facts import ModelFacts, facts_of
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.options import CONTRAST, LIKELIHOOD
from ggufjac.maps.costs.planner import Cost, Planner, Rates, trial
from ggufjac.maps.linear import OVERSAMPLING, PROBES, usual_sweeps
from ggufjac.maps.model import Model
from ggufjac.maps.swept import GROUPS
from ggufjac.quants.device.choice import described
from ggufjac.quants.memory.devices import default_budget, device_called
from ggufjac.rules import rules_called

#: What can be planned: `ggufjac analyze` with its tables of each token and of all together, one of them alone, or the
#: full map.
What = Literal["analyze", "each", "combined", "full"]
WHATS: tuple[str, ...] = get_args(What)


#: Operations that take some seconds on two cores; a packed weight has about a byte.
A_WHILE = 1e12


@dataclass(frozen=True)
class PlannedStep:
    """One step. sweeps: how often the weights are swept; columns: with how many; flops: operations, 2 per multiply-add;
    read: bytes."""

    name: str
    sweeps: int
    columns: int
    flops: int
    read: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Plan(Result):
    """The cost of one analysis.

    what: the analysis; n_tokens: of the prompt; top: triplets; memory: the budget, in bytes like the four that follow;
    base: what the process holds already, or on a device of its own the weights that stay there; coefficients, working:
    what comes on top of it at the worst moment; disk: what goes into a temporary file, or from a device to the host.
    flops_per_second, bytes_per_second: as measured just now. device: as for the analyses of one prompt.
    """

    kind: ClassVar[str] = "plan"

    model: ModelFacts
    what: str
    n_tokens: int
    top: int
    dtype: str
    memory: int
    base: int
    coefficients: int
    working: int
    disk: int
    steps: tuple[PlannedStep, ...]
    flops_per_second: float
    bytes_per_second: float
    device: str | None = None

    @property
    def peak(self) -> int:
        """Bytes at the worst moment, the mapped file not counted."""
        return self.base + self.coefficients + self.working

    @property
    def seconds(self) -> float:
        return sum(step.seconds for step in self.steps)

    @property
    def flops(self) -> int:
        return sum(step.flops for step in self.steps)

    @property
    def read(self) -> int:
        return sum(step.read for step in self.steps)


def plan(
    model: Model,
    n_tokens: int,
    what: What = "analyze",
    *,
    top: int = 8,
    memory: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> Plan:
    """The cost of an analysis of a prompt of so many tokens on a device of this machine.

    Raises UserError for a device that is not there, and where the budget does not hold one column.
    """
    where = device_called(device, dtype)
    budget = default_budget(where) if memory is None else memory
    planner = Planner(model.family, n_tokens, budget, dtype, where)
    wanted = _sweeps(planner, what, top)
    costs = [(name, n, columns, planner.sweep(columns, transposed=back)) for name, n, columns, back in wanted]
    rates = trial(planner, max(columns for _, _, columns, _ in costs))
    prefill = planner.prefill
    steps = [_pass("coefficient pass", planner, rates)]
    steps += [_step(name, n, columns, cost, rates) for name, n, columns, cost in costs]
    worst = 0
    if what == "analyze":  # the words come first, from maps of their own that are gone then
        for rules in (LIKELIHOOD, CONTRAST):
            account = Planner(model.family, n_tokens, budget, dtype, where, rules_called(rules))
            cost = account.sweep(1, transposed=True)
            steps[:0] = [_pass(f"coefficients, {rules}", account, rates), _step("words", 1, 1, cost, rates)]
            worst = max(worst, account.peak(cost) - account.passing - account.resident)
    working = max([prefill.peak - planner.coefficient_bytes - planner.resident, *(cost.peak for *_, cost in costs)])
    _, on_disk = planner.map.cut(planner.map.shape[0], transposed=True)
    result = _full_bytes(planner) if any(name == FULL for name, *_ in wanted) else 0
    if result and not on_disk and what != "full":  # the map stays while its spectra are taken
        working += result
    return Plan(
        model=facts_of(model.file),
        what=what,
        n_tokens=n_tokens,
        top=top,
        dtype=str(dtype).removeprefix("torch."),
        memory=budget,
        base=_resident() if where.type == "cpu" else planner.resident,
        coefficients=planner.coefficient_bytes + planner.states_bytes,
        working=max(
            working + _krylov_bytes(planner, what, top), worst - planner.coefficient_bytes - planner.states_bytes
        ),
        disk=result if on_disk else 0,
        steps=tuple(steps),
        flops_per_second=rates.sweep,
        bytes_per_second=rates.read,
        device=described(where, str(dtype).removeprefix("torch.")),
    )


FULL = "full map"


def worth_planning(model: Model, n_tokens: int, top: int) -> bool:
    """Whether `ggufjac analyze` may take long, by a glance at the sizes: planning itself takes seconds."""
    d, columns = model.family.d, n_tokens * (top + OVERSAMPLING) * usual_sweeps(top + OVERSAMPLING)
    weights = sum(info.nbytes for info in model.file.tensors.values())
    return 2 * weights * n_tokens * min(d, columns) > A_WHILE


def _sweeps(planner: Planner, what: What, top: int) -> list[tuple[str, int, int, bool]]:
    """(name, sweeps, columns, backwards) of all sweeps; half of those for triplets backwards."""
    d, n_tokens, _ = planner.map.shape
    block, each = planner.map.block(top), planner.map.block(top, "each")
    out: list[tuple[str, int, int, bool]] = []
    if what != "full":
        out += [("reconstruction", 1, min(n_tokens, GROUPS), False), ("attribution", 1, 2, True)]
    dense = what == "full"
    if what in ("analyze", "each"):
        dense = planner.map.dense_is_cheaper(each, n_tokens)
        if not dense:
            half = usual_sweeps(each) // 2
            out += [("triplets of each token", half, n_tokens * each, way) for way in (False, True)]
    if dense:
        out.append((FULL, 1, d, True))
    elif what in ("analyze", "combined"):
        out += [("triplets of all together", usual_sweeps(block) // 2, block, way) for way in (False, True)]
    if what != "full" and not dense:
        out.append(("norms", 1, PROBES, True))
    return out


def _pass(name: str, planner: Planner, rates: Rates) -> PlannedStep:
    cost = planner.prefill
    seconds = _seconds(cost, rates.prefill, rates)
    return PlannedStep(name, 1, planner.n_tokens, cost.flops, cost.read, seconds)


def _step(name: str, sweeps: int, columns: int, cost: Cost, rates: Rates) -> PlannedStep:
    return PlannedStep(
        name, sweeps, columns, sweeps * cost.flops, sweeps * cost.read, sweeps * _seconds(cost, rates.sweep, rates)
    )


def _seconds(cost: Cost, flops_per_second: float, rates: Rates) -> float:
    """Computing and reading overlap."""
    return max(cost.flops / flops_per_second, cost.read / rates.read)


def _full_bytes(planner: Planner) -> int:
    d, n_tokens, d_in = planner.map.shape
    return d * n_tokens * d_in * planner.dtype.itemsize


def _krylov_bytes(planner: Planner, what: What, top: int) -> int:
    """The bases that the triplets' iterations keep: left vectors, their images, and what they pull back to."""
    if what == "full":
        return 0
    d, n_tokens, d_in = planner.map.shape
    block = planner.map.block(top, "each")
    each = n_tokens * block * usual_sweeps(block) // 2 * (2 * d + d_in) if what in ("analyze", "each") else 0
    block = planner.map.block(top)
    combined = block * usual_sweeps(block) // 2 * (2 * d + n_tokens * d_in)
    return max(each, combined) * planner.dtype.itemsize


def _resident() -> int:
    """Bytes of this process that do not belong to a mapped file; 0 where the system does not tell."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])
    return 0
