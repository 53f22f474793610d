"""A check on the screen: compact lines while it runs, and what to look at first when it has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from benchmarks.device.rows import Log, Phase, Row

#: Points of a series that are told one by one; of longer ones only what is wrong is.
TOLD = 8
#: Tracebacks that are shown at the end, and characters of each.
TRACES, TRACE = 3, 1000


def lines(rows: Iterable[Row]) -> Iterator[str]:
    """One line for a measurement, or for a series of them that differ in one number."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if not row.minor or row.right is False:
            found.setdefault(_series(row), []).append(row)
    for series in found.values():
        if len(series) == 1 and series[0].share is None:
            yield _line(series[0])
        elif len(series) <= TOLD:
            head = " ".join(filter(None, (series[0].what, _of(series, "dtype"), _of(series, "way"))))
            yield f"{head}: " + ", ".join(f"{row.at} {_cell(row)}" for row in series)
        else:
            yield _summary(series)


def _series(row: Row) -> tuple[str, ...]:
    """What it shares with the others of its series: everything but the point, which may be the precision."""
    return row.phase, row.what, row.way, "" if row.at == row.dtype else row.dtype


def _of(series: Sequence[Row], name: str) -> str:
    """What all of them have."""
    values = {str(getattr(row, name)) for row in series}
    return values.pop() if len(values) == 1 else ""


def _summary(series: Sequence[Row]) -> str:
    wrong = [row for row in series if row.right is False]
    worst = max((row.error for row in series if row.error is not None and row.right), default=0.0)
    text = f"{series[0].what}: {len(series) - len(wrong)} of {len(series)} right, the worst of them {worst:.1e}"
    return text + "".join(f"\n  WRONG {row.at}: {row.error:.1e} {row.note}" for row in wrong)


def _cell(row: Row) -> str:
    """A point of a series: its time and what that is beside the device's copies or the library; else its error.

    An exclamation mark: the aim is missed.
    """
    wrong = f" WRONG {row.error:.1e} {row.note}" if row.right is False else ""
    if row.seconds is None:
        return wrong.strip() or f"{row.error:.0e}"
    missed, ratio = "!" if row.met is False else "", row.note.removeprefix("library ")
    share = "" if row.share is None else f"{row.share:.0%}"
    rate = f"{row.rate:.3g} {row.unit}" if row.rate is not None and row.unit == "TFLOP/s" else ""
    return " ".join(filter(None, (spelled(row.seconds), rate, share, ratio))) + missed + wrong


def _line(row: Row) -> str:
    parts = [" ".join(filter(None, dict.fromkeys((row.what, row.at, row.dtype, row.way)))) + ":"]
    if row.seconds is not None:
        spread = f" (least {spelled(row.least)}, first {spelled(row.first or 0)})" if row.runs > 1 and row.least else ""
        parts.append(spelled(row.seconds) + spread)
    if row.rate is not None:
        parts.append(f"{row.rate:.1f} {row.unit}")
    if row.share is not None:
        parts.append(f"{row.share:.0%}")
    if row.peak:
        parts.append(f"peak {row.peak / 2**30:.2f}" + (f" of {row.plan / 2**30:.1f}" if row.plan else "") + " GiB")
    if row.error is not None:
        parts.append(f"error {row.error:.1e}")
    if row.note:
        parts.append(row.note)
    return " ".join(parts) + _mark(row)


def _mark(row: Row) -> str:
    """Whether the aim is met, and whether the numbers are right."""
    marks = []
    if row.right is False:
        marks.append(f"WRONG (allowed {row.allowed:.0e})")
    if row.met is not None:
        marks.append(("met" if row.met else "MISSED") + (f" aim {row.aim:g} s" if row.aim is not None else ""))
    return f" [{', '.join(marks)}]" if marks else ""


def spelled(seconds: float) -> str:
    """With a unit that suits it."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} us"


def closing(log: Log) -> Iterator[str]:
    """What to look at first: times of phases, what failed, what is wrong, aims."""
    yield "phases: " + ", ".join(f"{p.name} {p.seconds:.0f} s{end(p)}" for p in log.phases)
    rows = [row for phase in log.phases for row in phase.rows]
    compared = [row for row in rows if row.right is not None]
    aimed = [row for row in rows if row.met is not None]
    yield f"values: {sum(row.right is True for row in compared)} of {len(compared)} right"
    if aimed:
        yield f"aims: {sum(row.met is True for row in aimed)} of {len(aimed)} met"
    traces = {row.note: row.trace for row in rows if row.trace}
    for trace in list(traces.values())[:TRACES]:
        yield trace[-TRACE:]


def table(phase: Phase) -> Iterator[str]:
    """What sums up a phase of hundreds of rows that are not shown one by one."""
    if phase.name == "trial":
        from benchmarks.device.trial.fastest import lines

        yield from lines(phase.rows)


def end(phase: Phase) -> str:
    """How a phase ended, if not as it should."""
    return " FAILED" if phase.failed else f" ({phase.stopped})" if phase.stopped else ""
