"""What a model of a given size costs on the device: its coefficients, sweeps, leading triplets and full map.

Times of a step are of the coefficients and the step together, as a user waits for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.device.aims import CAP, aim_for
from benchmarks.device.check import Check, attempted, relative
from benchmarks.device.rows import Row
from benchmarks.device.storage import room_for
from benchmarks.device.timing import whole
from benchmarks.synth import fill, size_of
from benchmarks.synthetic.shapes import named
from ggufjac.analyses.options import LIKELIHOOD
from ggufjac.maps.costs.planner import Planner
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.model import Model
from ggufjac.rules import DETACHED, PRESETS

#: Triplets, and columns of the sweeps that are timed by themselves.
TOP, COLUMNS = 8, 16
#: From this width on, the full map is tried with a part of its columns first, every sixteenth of them.
LARGE, PART = 4096, 16
COEFFICIENTS, SWEEPS, TRIPLETS, FULL = "coefficients", f"sweeps of {COLUMNS} columns", f"top {TOP} triplets", "full map"
#: The terms of a prediction's probability: live attention, whose operators no other step runs.
ACCOUNT = f"account by {LIKELIHOOD}"
FLOAT32, BFLOAT16 = "float32", "bfloat16"
#: What a map may miss of its output, and what it and its singular values may differ from the CPU's.
RECONSTRUCTION, SAME = 1e-5, 1e-4
#: What columns of bfloat16 may be off.
ROUGH = 5e-2


@dataclass(frozen=True)
class Prompt:
    """One prompt of random tokens. steps: with their precisions; compared: those that the CPU repeats."""

    n_tokens: int
    capped: bool
    steps: tuple[tuple[str, str], ...]
    compared: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    shape: str
    file_type: str
    parts: tuple[Prompt, ...]


CASES = {
    "smollm": Case(
        "smollm2-135m",
        "Q4_1",
        (
            Prompt(
                8,
                True,
                (
                    (COEFFICIENTS, FLOAT32),
                    (ACCOUNT, FLOAT32),
                    (FULL, FLOAT32),
                    (FULL, BFLOAT16),
                    (TRIPLETS, FLOAT32),
                ),
                (COEFFICIENTS, ACCOUNT, SWEEPS, FULL, TRIPLETS),
            ),
        ),
    ),
    "1b": Case(
        "llama3.2-1b",
        "Q4_K_M",
        (
            Prompt(
                8,
                True,
                ((COEFFICIENTS, FLOAT32), (SWEEPS, FLOAT32), (TRIPLETS, FLOAT32), (FULL, FLOAT32)),
                (COEFFICIENTS, SWEEPS, TRIPLETS),
            ),
        ),
    ),
    "8b": Case(
        "llama3.1-8b",
        "Q4_K_M",
        (
            Prompt(
                8,
                True,
                (
                    (COEFFICIENTS, FLOAT32),
                    (ACCOUNT, FLOAT32),
                    (SWEEPS, FLOAT32),
                    (TRIPLETS, FLOAT32),
                    (FULL, FLOAT32),
                    (FULL, BFLOAT16),
                ),
                (COEFFICIENTS, ACCOUNT, SWEEPS),
            ),
        ),
    ),
    "70b": Case(
        "llama3.3-70b",
        "Q4_K_M",
        (
            Prompt(4, True, ((COEFFICIENTS, FLOAT32), (TRIPLETS, FLOAT32))),
            Prompt(4, False, ((COEFFICIENTS, FLOAT32), (TRIPLETS, FLOAT32))),
            Prompt(8, True, ((FULL, BFLOAT16), (FULL, FLOAT32))),
        ),
    ),
}
REAL = Prompt(
    8,
    False,
    ((COEFFICIENTS, FLOAT32), (SWEEPS, FLOAT32), (TRIPLETS, FLOAT32), (FULL, FLOAT32), (FULL, BFLOAT16)),
    (COEFFICIENTS, SWEEPS),
)


def rows(check: Check, phase: str) -> Iterator[Row]:
    """Everything of one phase, with a model made for it in memory."""
    if phase == "real":
        assert check.settings.real is not None
        yield from _file(check, phase, check.settings.real, (REAL,))
        return
    case, scale = CASES[phase], check.settings.scale
    shape = named(case.shape, scale.smallest if phase == "smollm" else scale.models)
    with room_for(size_of(shape, case.file_type)) as (path, where):
        since = time.perf_counter()
        fill(path, shape, case.file_type, threads=torch.get_num_threads())
        seconds, size = time.perf_counter() - since, path.stat().st_size
        row = Row(phase, f"{case.shape} made", note=f"{size / 1e9:.2f} GB in {where}", unit="GB/s")
        yield replace(row, seconds=seconds, rate=size / seconds / 1e9)
        yield from _file(check, phase, path, case.parts)


def _file(check: Check, phase: str, path: Path, parts: tuple[Prompt, ...]) -> Iterator[Row]:
    with Model.open(path) as model:
        for part in parts:
            with check.card.capped(CAP if part.capped else None) as memory:
                yield from _Analysis(check, phase, model, part, memory).rows()


@dataclass
class _Found:
    """What the last run of each step gave: the map and its results, on the CPU."""

    logits: Tensor | None = None
    terms: Tensor | None = None
    sweeps: tuple[Tensor, Tensor] | None = None
    values: Tensor | None = None
    maps: dict[str, Tensor] = field(default_factory=dict)


class _Analysis:
    """One model at one prompt of random tokens."""

    def __init__(self, check: Check, phase: str, model: Model, part: Prompt, memory: int) -> None:
        self.check, self.phase, self.model, self.part, self.memory = check, phase, model, part, memory
        generator = torch.Generator().manual_seed(part.n_tokens)
        self.ids: list[int] = torch.randint(model.family.n_vocab, (part.n_tokens,), generator=generator).tolist()
        d, n = model.family.d, part.n_tokens
        self.columns = torch.randn(COLUMNS, n, d, generator=generator), torch.randn(COLUMNS, d, generator=generator)
        self.found = _Found()
        self.calls = 0

    def rows(self) -> Iterator[Row]:
        wanted = self.check.settings.steps
        for step, dtype in self.part.steps:
            if wanted and not any(word in step for word in wanted):
                continue
            yield from self._step(step, dtype)
        if BFLOAT16 in self.found.maps and FLOAT32 in self.found.maps:
            error = relative(self.found.maps[BFLOAT16], self.found.maps[FLOAT32])
            row = self._row(f"{FULL} beside float32", BFLOAT16)
            yield replace(row, error=error, allowed=ROUGH)
        if self.part.compared:
            yield from self._compared()

    def _row(self, what: str, dtype: str) -> Row:
        memory = "24 GiB" if self.part.capped else "all memory"
        return Row(self.phase, f"{what}, {self.part.n_tokens} tokens, {memory}", dtype=dtype)

    def _linearize(self, dtype: str, rules: str | None = None) -> DetachedMap:
        with torch.no_grad():
            return self.model.linearize(
                self.ids,
                dtype=getattr(torch, dtype),
                device=str(self.check.card.device),
                memory=self.memory,
                rules=rules,
            )

    def _step(self, step: str, dtype: str) -> Iterator[Row]:
        row = replace(self._row(step, dtype), plan=self._plan(step, dtype))
        aim = aim_for(self.phase, step, dtype, capped=self.part.capped)
        if aim is not None and self.check.aims:
            row = replace(row, aim=aim.seconds)
        if step == FULL and self.model.family.d >= LARGE:
            part = attempted(self.check.card, row, partial(self._part_of_map, row, dtype))
            yield part
            if part.right is False or not self._fits(part):
                return
        yield attempted(self.check.card, row, partial(self._timed, row, step, dtype))
        if step == COEFFICIENTS:
            yield attempted(self.check.card, self._row("reconstruction", dtype), partial(self._reconstruction, dtype))
        self.check.card.forget()

    def _plan(self, step: str, dtype: str) -> int:
        """The peak that the planner tells before."""
        family, n = self.model.family, self.part.n_tokens
        rules = PRESETS[LIKELIHOOD] if step == ACCOUNT else DETACHED
        plan = Planner(family, n, self.memory, getattr(torch, dtype), self.check.card.device, rules)
        columns = {COEFFICIENTS: 1, ACCOUNT: 1, SWEEPS: COLUMNS, TRIPLETS: plan.map.block(TOP), FULL: family.d}[step]
        return max(plan.peak(plan.sweep(columns, transposed=way)) for way in (True, False)[: 1 if step == FULL else 2])

    # --- the steps --------------------------------------------------------------------------------------------

    def _timed(self, row: Row, step: str, dtype: str) -> Row:
        """A step with its coefficients, from a map made anew."""
        works: dict[str, Callable[[DetachedMap], None]] = {
            COEFFICIENTS: self._coefficients,
            ACCOUNT: self._account,
            SWEEPS: self._sweeps,
            TRIPLETS: self._triplets,
            FULL: partial(self._full, dtype),
        }
        coefficients: list[float] = []

        def work() -> None:
            since = time.perf_counter()
            linear = self._linearize(dtype, LIKELIHOOD if step == ACCOUNT else None)
            self.check.card.synchronize()
            coefficients.append(time.perf_counter() - since)
            with torch.no_grad():
                works[step](linear)

        with self.check.card.watched() as peak:
            times = whole(self.check.card, work)
        row = replace(row, seconds=times.median, least=times.least, first=times.first, runs=times.runs, peak=peak.bytes)
        if step == COEFFICIENTS:
            return row
        told = f"of which coefficients {coefficients[-1]:.2f} s"
        return replace(row, note=told + (f"; {self.calls} sweeps" if step == TRIPLETS else ""))

    def _coefficients(self, linear: DetachedMap) -> None:
        self.found.logits = linear.logits

    def _account(self, linear: DetachedMap) -> None:
        self.found.terms = self._terms(linear)

    def _terms(self, linear: DetachedMap) -> Tensor:
        """[1, n] of one random functional of the last state."""
        x = linear.inputs
        swept = linear.rmatmat(self.columns[1][:1].to(x.device))
        return (swept * x).sum(-1).cpu()

    def _sweeps(self, linear: DetachedMap) -> None:
        x, y = (columns.to(self.check.card.device) for columns in self.columns)
        self.found.sweeps = linear.matmat(x).cpu(), linear.rmatmat(y).cpu()

    def _triplets(self, linear: DetachedMap) -> None:
        with _counted(linear) as calls:
            self.found.values = linear.svd(TOP, "combined").S.cpu()
        self.calls = len(calls)

    def _full(self, dtype: str, linear: DetachedMap) -> None:
        full = linear.jacobian()
        if self.model.family.d <= LARGE:
            self.found.maps[dtype] = full.cpu()

    def _part_of_map(self, row: Row, dtype: str) -> Row:
        """A sixteenth of the columns: what all of them will take, and the warm-up for that."""
        linear, d = self._linearize(dtype), self.model.family.d
        columns = torch.eye(d // PART, d, device=self.check.card.device, dtype=linear.dtype)
        with torch.no_grad(), self.check.card.watched() as peak:
            times = whole(self.check.card, lambda: _done(linear.rmatmat(columns)), most=2)
        what = row.what.replace(FULL, f"{d // PART} columns of the {FULL}", 1)
        note = f"all of them, without coefficients: about {PART * times.median:.1f} s"
        row = replace(row, what=what, seconds=times.median, least=times.least, first=times.first, runs=times.runs)
        return replace(row, peak=peak.bytes, note=note, aim=None)

    def _fits(self, part: Row) -> bool:
        """Whether all of the full map can be waited for."""
        return part.seconds is not None and PART * part.seconds < self.check.clock.left

    def _reconstruction(self, dtype: str) -> Row:
        linear = self._linearize(dtype)
        with torch.no_grad():
            error = linear.reconstruction_error()
        return replace(self._row("reconstruction", dtype), error=error, allowed=RECONSTRUCTION)

    # --- beside the CPU ---------------------------------------------------------------------------------------

    def _compared(self) -> Iterator[Row]:
        """The same from the CPU's kernels."""
        found, compared = self.found, self.part.compared
        with torch.no_grad():
            ours = self.model.linearize(self.ids)
            if COEFFICIENTS in compared and found.logits is not None:
                yield self._beside("logits", relative(found.logits, ours.logits))
            if ACCOUNT in compared and found.terms is not None:
                under = self.model.linearize(self.ids, rules=LIKELIHOOD)
                yield self._beside(ACCOUNT, relative(found.terms, self._terms(under)))
            if SWEEPS in compared and found.sweeps is not None:
                for name, theirs, mine in (
                    ("forward", found.sweeps[0], ours.matmat(self.columns[0])),
                    ("backward", found.sweeps[1], ours.rmatmat(self.columns[1])),
                ):
                    yield self._beside(f"{name} sweep", relative(theirs, mine))
            if FULL in compared and FLOAT32 in found.maps:
                yield self._beside(FULL, relative(found.maps[FLOAT32], ours.jacobian()))
            if TRIPLETS in compared and found.values is not None:
                values = ours.svd(TOP, "combined").S
                yield self._beside("singular values", float(((found.values - values) / values).abs().max()))

    def _beside(self, what: str, error: float) -> Row:
        return replace(self._row(f"{what} beside the CPU's", FLOAT32), error=error, allowed=SAME)


def _done(_: Tensor) -> None:
    """A result that nobody keeps."""


@contextmanager
def _counted(linear: DetachedMap) -> Iterator[list[str]]:
    """The sweeps that are made inside."""
    calls: list[str] = []

    def counting(name: str) -> Callable[[Tensor], Tensor]:
        made: Callable[[Tensor], Tensor] = getattr(linear, name)

        def sweep(block: Tensor) -> Tensor:
            calls.append(name)
            return made(block)

        return sweep

    with (
        patch.object(linear, "matmat", counting("matmat")),
        patch.object(linear, "rmatmat", counting("rmatmat")),
    ):
        yield calls
