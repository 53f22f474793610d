"""What an analysis will take of memory, disk and time, told before it runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from ggufjac.analyses.common.facts import ModelFacts, facts_of
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.lens.costs import FIT, READ, PlannedReading, glance
from ggufjac.analyses.lens.costs import WORKS as LENSES
from ggufjac.analyses.lens.options import LensFitOptions
from ggufjac.analyses.options import AnalysisOptions, Planned
from ggufjac.analyses.steps import FULL, ROWS, Sizes, Work, full_map, of_side, spoken, works
from ggufjac.analyses.table import COMMANDS
from ggufjac.errors import UserError
from ggufjac.maps.costs.planner import Cost, Planner, Rates, trial
from ggufjac.maps.linear import OVERSAMPLING, usual_sweeps
from ggufjac.maps.model import Model
from ggufjac.maps.notes import notes_of_file
from ggufjac.option import flag_of, options_of
from ggufjac.quants.device.choice import described
from ggufjac.quants.memory.devices import default_budget, device_called
from ggufjac.rules import rules_called

#: Operations that take some seconds on two cores; a packed weight has about a byte.
A_WHILE = 5e11
#: Columns of the sweeps that every analysis makes at least once.
FEWEST = 32
#: Columns that take as long as one more token of a steered text.
STEP = 4
#: Bytes of a file per second with which llama.cpp is ready to run it (measured on files of 98 and 253 MB).
LOADED = 4e8


@dataclass(frozen=True)
class PlannedStep:
    """One step. sweeps: how often the weights are swept; columns: with how many; flops: operations, 2 per multiply-add;
    read: bytes. lap: the step of the analysis to which it belongs; passing: columns times layers, told as they pass (0:
    nothing is told)."""

    name: str
    sweeps: int
    columns: int
    flops: int
    read: int
    seconds: float
    lap: str = ""
    passing: int = 0


@dataclass(frozen=True, kw_only=True)
class Plan(Result):
    """The cost of one analysis.

    what: the analysis; n_tokens: of the prompt; top: triplets; memory: the budget, in bytes like the four that follow;
    base: what the process holds already, or on a device of its own the weights that stay there; coefficients, working:
    what comes on top of it at the worst moment; disk: what goes into a temporary file, or from a device to the host.
    flops_per_second, bytes_per_second: as measured just now. device: as for the analyses of one prompt. notes: what a
    reader should know of the file.
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
    notes: tuple[str, ...] = ()

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
    what: Planned = "analyze",
    *,
    top: int | None = None,
    fast: bool = False,
    answer: int = 64,
    texts: int = 100,
    memory: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> Plan:
    """The cost of an analysis with its usual options of a prompt of so many tokens, on a device of this machine.

    top: triplets (None: the analysis's own number); fast: without spectra and layers, where the analysis has this
    option; answer: how many tokens `answer` adds to the prompt; texts: of how many
    "lens-fit" is planned. `compare` is planned for two prompts of this length, `steer` for a concept and a prompt of
    it.
    Raises UserError for a device that is not there, and where the budget does not hold one column.
    """
    chosen: dict[str, Any] = {"memory": memory, "device": str(device), "dtype": dtype}
    if what == "full":
        prompt = _Planned(model, n_tokens, AnalysisOptions(**chosen))
        return prompt.plan(what, 1 if top is None else top, full_map())
    if what in (FIT, READ):
        if fast:
            raise UserError(f"{what} has no short form; fast goes with analyze and attribute")
        fitting = what == FIT
        lens = LensFitOptions(**chosen, prompts=texts, length=n_tokens) if fitting else PlannedReading(**chosen)
        return plan_of([(model, n_tokens)], what, lens)
    command = "analyze" if what in ("each", "combined") else what
    kind = COMMANDS[command].options_class
    named = {item.name: item for item in options_of(kind)}
    if what in ("each", "combined"):
        chosen["tokens"] = what
    if top is not None:
        name = next((name for name, item in named.items() if "top" in (name, flag_of(item).short)), None)
        chosen |= {} if name is None else {name: top}
    if what == "answer":
        chosen["tokens"] = answer
    if fast and "fast" not in named:
        raise UserError(f"{command} has no short form; fast goes with analyze and attribute")
    if fast:
        chosen["fast"] = True
    options = kind(**chosen)
    return plan_of([(model, n_tokens)] * (2 if command == "compare" else 1), command, options, what)


def plan_of(
    prompts: Sequence[tuple[Model, int]], command: str, options: AnalysisOptions, what: str | None = None
) -> Plan:
    """The cost of an analysis with these options. prompts: the model and the number of tokens of each prompt that it is
    of; several are the sides of a comparison, which share one trial. what: what the plan is called (None: as the
    command).

    Raises as `plan`.
    """
    sides = [_Planned(model, _length(model, n_tokens, options), options) for model, n_tokens in prompts]
    top = getattr(options, "top", getattr(options, "components", 1))
    made: list[Plan] = []
    rates: dict[str, Rates] = {}
    for i, side in enumerate(sides):
        todo = tuple(LENSES[command](side.sizes, options)) if command in LENSES else works(command, side.sizes, options)
        found = [of_side(work, i, len(sides)) for work in todo]
        path = str(side.model.file.path)
        made.append(side.plan(what or command, top, found, rates.get(path)))
        rates[path] = side.rates
    return together(made)


def together(made: Sequence[Plan]) -> Plan:
    """Plans of parts of one analysis, one behind the other, as one."""
    return replace(
        made[0],
        coefficients=max(each.coefficients for each in made),
        working=max(each.coefficients + each.working for each in made) - max(each.coefficients for each in made),
        disk=max(each.disk for each in made),
        steps=tuple(step for each in made for step in each.steps),
        notes=tuple(dict.fromkeys(note for each in made for note in each.notes)),
    )


def _length(model: Model, n_tokens: int, options: AnalysisOptions) -> int:
    """The tokens of a prompt and of what an analysis adds to it, the last of which is not read."""
    return min(n_tokens + max(0, spoken(options) - 1), model.family.n_ctx_train)


def expected(prompts: Sequence[tuple[Model, int]], command: str, options: AnalysisOptions) -> Plan | None:
    """The plan of an analysis that may take long; None for a short one, and on a device of its own, where a trial
    would take memory from the analysis. As `plan_of`."""
    too_long = any(n + spoken(options) - 1 > model.family.n_ctx_train for model, n in prompts)
    if too_long and getattr(options, "say", None) is not None:  # it will be refused at once
        return None
    if options.device != "cpu" or not worth_planning(prompts, command, options):
        return None
    return plan_of(prompts, command, options)


def worth_planning(prompts: Sequence[tuple[Model, int]], command: str, options: AnalysisOptions) -> bool:
    """Whether an analysis may take long, by a glance at the sizes: planning itself takes seconds."""
    operations = 0
    for model, n_tokens in prompts:
        d, n_layer = model.family.d, model.family.n_layer
        block = getattr(options, "top", getattr(options, "components", 4)) + OVERSAMPLING
        columns = FEWEST + block * usual_sweeps(block)
        if command == "layers":
            columns *= n_layer
        elif isinstance(options, LensFitOptions | PlannedReading):
            columns = glance(command, n_layer, d, n_tokens, options)
        elif getattr(options, "fast", False):
            columns = FEWEST
        elif (command == "analyze" and getattr(options, "tokens", "") != "combined") or command == "extremes":
            columns = min(d, n_tokens * columns)
        elif command == "answer":
            columns = FEWEST + STEP * spoken(options)
        elif command == "steer":  # a step of a text costs more than its one position
            columns += STEP * getattr(options, "tokens", 1)
        weights = sum(info.nbytes for info in model.file.tensors.values())
        operations += 2 * weights * n_tokens * columns
    return operations > A_WHILE


class _Planned:
    """One prompt of a model, rehearsed by the rules that an analysis needs."""

    def __init__(self, model: Model, n_tokens: int, options: AnalysisOptions) -> None:
        self.model, self.n_tokens, self.options = model, n_tokens, options
        self.dtype = options.torch_dtype
        self.device = device_called(options.device, self.dtype)
        self.budget = default_budget(self.device) if options.memory is None else options.memory
        self._planners: dict[str, Planner] = {}
        self.planner = self._by(None)
        self.sizes = Sizes(self.planner, model.family)

    def _by(self, rules: str | None) -> Planner:
        wanted = self.options.linearisation if rules is None else rules_called(rules)
        if str(wanted) not in self._planners:
            self._planners[str(wanted)] = Planner(
                self.model.family, self.n_tokens, self.budget, self.dtype, self.device, wanted
            )
        return self._planners[str(wanted)]

    def plan(self, what: str, top: int, wanted: Sequence[Work], rates: Rates | None = None) -> Plan:
        """The plan of these works; rates: of another prompt on the same model (None: measured now)."""
        planner = self.planner
        wanted = [replace(work, columns=planner.map.shape[0]) if work.columns < 0 else work for work in wanted]
        widest = max((work.columns for work in wanted if work.kind in ("back", "forward")), default=1)
        self.rates = rates or trial(planner, widest)
        steps, worst = [], planner.prefill.peak + planner.passing
        for work in wanted:
            step, peak = self._step(work)
            steps.append(step)
            worst = max(worst, peak)
        held = planner.coefficient_bytes + planner.states_bytes
        on_disk = (
            any(work.name == FULL for work in wanted) and planner.map.cut(planner.map.shape[0], transposed=True)[1]
        )
        return Plan(
            model=facts_of(self.model.file),
            what=what,
            n_tokens=self.n_tokens,
            top=top,
            dtype=self.options.dtype_name,
            memory=self.budget,
            base=_resident() if self.device.type == "cpu" else planner.resident,
            coefficients=held,
            working=max(0, worst - held - planner.resident),
            disk=_full_bytes(planner) if on_disk else 0,
            steps=tuple(steps),
            flops_per_second=self.rates.sweep,
            bytes_per_second=self.rates.read,
            device=described(self.device, self.options.dtype_name),
            notes=notes_of_file(self.model),
        )

    def _step(self, work: Work) -> tuple[PlannedStep, int]:
        """What a work costs, and how many bytes it takes at its worst moment with all that is held then."""
        planner, rates, n_layer = self._by(work.rules), self.rates, self.model.family.n_layer
        sweeps, layers, peak = work.sweeps, len(planner.map.operators), 0
        if work.kind == "pass":
            cost, layers = planner.prefill, n_layer
            seconds, peak = rates.passing(cost), planner.passing + cost.peak
        elif work.kind in ("back", "forward"):
            cost = planner.sweep(work.columns, transposed=work.kind == "back", numbers=work.numbers)
            seconds, peak = work.share * rates.sweeping(cost), planner.peak(cost) + self._beside(planner, work)
        elif work.kind == "run":
            cost, layers = self._run(planner, work), n_layer
            seconds = rates.sweeping(cost)
        else:
            cost = self._outside(planner, work)
            seconds = cost.flops / rates.sweep
            if work.kind == "llama.cpp":
                seconds += self.model.file.size / LOADED
        if work.beside:
            peak += self.planner.coefficient_bytes + self.planner.states_bytes
        times = 1 if work.kind == "run" else sweeps
        step = PlannedStep(
            work.name,
            sweeps,
            work.columns if work.kind != "pass" else self.n_tokens,
            int(work.share * times * cost.flops) if work.kind != "run" else cost.flops,
            int(work.share * times * cost.read) if work.kind != "run" else cost.read,
            times * seconds,
            work.lap,
            (work.columns * sweeps * layers if work.passing is None else work.passing) if work.tells else 0,
        )
        return step, peak

    def _run(self, planner: Planner, work: Work) -> Cost:
        """Prompts that the model is run on, several side by side."""
        passes = planner.prefill
        rows = work.columns * work.share * self.n_tokens
        times = max(work.sweeps, -(-int(rows) // ROWS))
        flops = int(passes.flops * work.columns * work.share)
        return Cost(flops, passes.read * times, passes.peak, 0, times * self.model.family.n_layer)

    def _outside(self, planner: Planner, work: Work) -> Cost:
        """Vectors through the head, or a prompt through llama.cpp."""
        if work.kind == "llama.cpp":
            return Cost(planner.prefill.flops, 0, 0)  # what it reads is its own
        d, n_vocab = self.model.family.d, self.model.family.n_vocab
        return Cost(2 * work.columns * d * n_vocab, 0, 0)

    def _beside(self, planner: Planner, work: Work) -> int:
        """Bytes that a search for triplets, or the spectra of a full map, keep meanwhile."""
        d, n_tokens, d_in = planner.map.shape
        if work.numbers is not None:  # what is added up of it
            return work.columns * work.numbers * planner.dtype.itemsize
        if work.name == FULL:
            away = planner.map.cut(d, transposed=True)[1] or work.lap == FULL
            return 0 if away else _full_bytes(planner) + self._bases(planner)
        if not work.name.startswith("triplets"):
            return 0
        if work.name == "triplets of all places":
            return planner.map.holding.search
        each = work.name == "triplets of each token"
        width = 2 * d + d_in if each else 2 * d + n_tokens * d_in
        return work.columns * work.sweeps * width * planner.dtype.itemsize

    def _bases(self, planner: Planner) -> int:
        """Bytes of the bases from which the triplets of each token's part of a full map are found."""
        if getattr(self.options, "tokens", "combined") not in ("each", "both"):
            return 0
        d, n_tokens, d_in = planner.map.shape
        block = planner.map.block(getattr(self.options, "top", 1), "each")
        return n_tokens * block * (usual_sweeps(block) // 2) * (2 * d + d_in) * planner.dtype.itemsize


def _full_bytes(planner: Planner) -> int:
    d, n_tokens, d_in = planner.map.shape
    return d * n_tokens * d_in * planner.dtype.itemsize


def _resident() -> int:
    """Bytes of this process that do not belong to a mapped file; 0 where the system does not tell."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])
    return 0
