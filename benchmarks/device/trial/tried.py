"""One candidate after the other: its error, then its time; what fails or errs too much is told and left out."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from benchmarks.device.check import Check, relative
from benchmarks.device.rows import Row
from benchmarks.device.timing import Times, each, elapsed

PHASE = "trial"
#: What the table at the end knows the engine's own way by.
NOW = "now"


def tried(
    check: Check,
    row: Row,
    works: Sequence[Callable[[], Tensor]],
    wanted: Tensor,
    allowed: float,
    seconds: float,
    *,
    captured: bool,
) -> Row:
    """The row with the time of one of `works`, whose first rows should be `wanted`; off a GPU with that of one run.

    Without a time: a row that the screen shows. None of this makes the check fail, as nothing uses candidates. Raises
    where the device does not answer any more.
    """
    error, made = None, list[Tensor]()
    try:
        spent = elapsed(check.card, lambda: made.append(works[0]()))
        error = relative(made[0][: wanted.shape[0]], wanted)
        if not error <= allowed:
            return failed(row, f"left out: its error is {error:.1e}, and {allowed:.0e} may be")
        times = Times(spent, spent, spent, 1)
        if check.card.device.type == "cuda":
            times = each(check.card, works, seconds, captured=captured)
    except Exception as problem:
        if not check.card.alive():
            raise
        said = f"left out: {type(problem).__name__}: {' '.join(str(problem).split())[-200:]}"
        return replace(failed(row, said), error=error, trace=traceback.format_exc())
    return replace(
        row, seconds=times.median, least=times.least, first=times.first, runs=times.runs, error=error, minor=True
    )


def failed(row: Row, said: str) -> Row:
    """A row that stands alone: what it was and why it has no time."""
    return replace(row, what=f"{row.what}, {row.at} rows", at="", note=said)
