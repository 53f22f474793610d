"""Narrow products: every candidate at one shape, then the fastest of each width at another one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from benchmarks.device.check import Check, Clock
from benchmarks.device.products import ALLOWED
from benchmarks.device.rows import Row
from benchmarks.device.trial.candidates import Candidate, candidates
from benchmarks.device.trial.compiling import Compilers
from benchmarks.device.trial.launches import product
from benchmarks.device.trial.matrix import Matrix
from benchmarks.device.trial.tried import NOW, PHASE, failed, tried
from ggufjac.quants.triton_kernels.launch import Card

#: Seconds for one timing: there are hundreds.
SECONDS = 4e-3
#: How many of the fastest for each width meet the other shape, and the share of the time that is kept for it.
BEST, KEPT = 2, 0.15


class Narrow:
    """processors: multiprocessors of the card, whose programs are counted in waves. clock: when this has to end."""

    def __init__(self, check: Check, processors: int, *, hopper: bool, clock: Clock) -> None:
        self.check, self.clock = check, clock
        self._processors, self._hopper = processors, hopper
        self._found: list[tuple[Candidate, int, Row]] = []

    def rows(self, compilers: Compilers | None) -> Iterator[Row]:
        """All candidates, as they are compiled; where nothing is compiled, the first of each kernel and width."""
        shapes = self.check.settings.scale.shapes
        first = Matrix(self.check, shapes[0])
        found = candidates(hopper=self._hopper)
        waiting = dict(enumerate(found if compilers else self._few(found)))
        kept = KEPT * self.clock.left
        while waiting and self.clock.left > kept:
            running = compilers is not None and compilers.running  # asked first: what ends now has written all
            told = compilers.told() if compilers else {}
            ready = [number for number in waiting if number in told or not running]
            if not ready:
                time.sleep(0.1)
                continue
            for number in ready:
                if self.clock.left <= kept:
                    break
                yield from self._timed(first, waiting.pop(number), told.get(number, ""))
        if waiting:
            yield Row(PHASE, f"{len(waiting)} candidates of narrow products", note="not timed: the time is over")
        if len(shapes) > 1:
            yield from self._others(Matrix(self.check, shapes[-1]))

    def _few(self, found: list[Candidate]) -> list[Candidate]:
        few: dict[tuple[str, bool, int], Candidate] = {}
        for candidate in found:
            if candidate.dtype == torch.float32 and candidate.m in self.check.settings.scale.narrow:
                few.setdefault((candidate.kernel, candidate.adjoint, candidate.m), replace(candidate, waves=(4,)))
        return list(few.values())

    def _timed(self, matrix: Matrix, candidate: Candidate, said: str) -> Iterator[Row]:
        for waves in candidate.waves:
            row = _row(matrix, candidate, waves)
            if said:
                yield failed(row, f"left out: {said}")
                return
            row = self._one(matrix, candidate, waves, row)
            yield row
            if row.seconds is None:
                return
            self._found.append((candidate, waves, row))

    def _one(self, matrix: Matrix, candidate: Candidate, waves: int, row: Row) -> Row:
        x, exact = matrix.block(candidate.m, candidate.dtype, adjoint=candidate.adjoint)
        card = Card(waves * self._processors, self._hopper)
        works = [partial(_product, candidate, packed, matrix.n_in, x, card) for packed in matrix.packed]
        row = tried(self.check, row, works, exact, ALLOWED[candidate.dtype], SECONDS, captured=True)
        if row.seconds is None:
            return row
        rate = matrix.nbytes / row.seconds
        return replace(row, rate=rate / 1e9, share=rate / self.check.copies)

    def _others(self, matrix: Matrix) -> Iterator[Row]:
        """The engine's way and the fastest ones, with other weights."""
        widths: dict[tuple[str, str, str], list[tuple[Candidate, int, Row]]] = {}
        for one in self._found:
            widths.setdefault((one[2].what, one[2].at, one[2].dtype), []).append(one)
        for found in widths.values():
            found.sort(key=lambda one: one[2].seconds or 0.0)
            now = [one for one in found if one[0].current(one[1])]
            for candidate, waves, _ in [*now, *(one for one in found if one not in now)][: len(now) + BEST]:
                if self.clock.left <= 0:
                    return
                yield self._one(matrix, candidate, waves, _row(matrix, candidate, waves))


def _row(matrix: Matrix, candidate: Candidate, waves: int) -> Row:
    what, dtype = matrix.name(adjoint=candidate.adjoint), str(candidate.dtype).removeprefix("torch.")
    note = NOW if candidate.current(waves) else ""
    return Row(PHASE, what, str(candidate.m), dtype, f"{candidate.name}, {waves} waves", unit="GB/s", note=note)


def _product(candidate: Candidate, packed: Tensor, n_in: int, x: Tensor, card: Card) -> Tensor:
    return product(candidate, packed, n_in, x, card).to(x.dtype)
