"""A check as text: compact lines while it runs, and a section of RESULTS.md from its file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from benchmarks.device.rows import Log, Phase, Row
from benchmarks.table import Table

#: Points of a series that are told one by one; of longer ones only what is wrong is.
TOLD = 8
#: Tracebacks that are shown at the end, and characters of each.
TRACES, TRACE = 3, 1000
#: What the compact lines of a phase say.
LEGENDS = {
    "values": "Weights expanded (the share of them that differ in a bit), and the worst relative errors of products and "
    "maps.",
    "products": "For each number of rows: the time; of narrow blocks the share of what copies move, and how many times "
    "as long the library takes on expanded weights; of wide ones the share of the library's speed. An exclamation "
    "mark: the aim is missed.",
}


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
    return " ".join(filter(None, (_seconds(row.seconds), share, ratio))) + missed + wrong


def _line(row: Row) -> str:
    parts = [" ".join(filter(None, dict.fromkeys((row.what, row.at, row.dtype, row.way)))) + ":"]
    if row.seconds is not None:
        spread = (
            f" (least {_seconds(row.least)}, first {_seconds(row.first or 0)})" if row.runs > 1 and row.least else ""
        )
        parts.append(_seconds(row.seconds) + spread)
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


def _seconds(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} us"


def closing(log: Log) -> Iterator[str]:
    """What to look at first: times of phases, what failed, what is wrong, aims."""
    yield "phases: " + ", ".join(f"{p.name} {p.seconds:.0f} s{_end(p)}" for p in log.phases)
    rows = [row for phase in log.phases for row in phase.rows]
    compared = [row for row in rows if row.right is not None]
    aimed = [row for row in rows if row.met is not None]
    yield f"values: {sum(row.right is True for row in compared)} of {len(compared)} right"
    if aimed:
        yield f"aims: {sum(row.met is True for row in aimed)} of {len(aimed)} met"
    traces = {row.note: row.trace for row in rows if row.trace}
    for trace in list(traces.values())[:TRACES]:
        yield trace[-TRACE:]


def _end(phase: Phase) -> str:
    return " FAILED" if phase.failed else f" ({phase.stopped})" if phase.stopped else ""


# --- RESULTS.md -----------------------------------------------------------------------------------------------


def where(log: Log) -> str:
    """One line: when, the card, its driver, the versions, and what copies do there."""
    facts = log.facts
    told = [f"{facts.get('card')}, {facts.get('memory GiB')} GiB"]
    told += [f"{name} {facts[name]}" for name in ("driver", "CUDA", "torch", "Triton", "Python") if name in facts]
    rates = [
        f"{facts[name]:.0f} GB/s {what}"
        for name, what in (("copies GB/s", "read and written by copies"), ("from host GB/s", "from pinned memory"))
        if isinstance(facts.get(name), float)
    ]
    return f"{log.date}: {', '.join(told)}; {', '.join(rates)}."


def section(log: Log) -> Iterator[str]:
    """What RESULTS.md shows of every phase: compact lines of the many products and values, tables of models."""
    for phase in log.phases:
        if not phase.failed and (not phase.rows or phase.name == "build"):
            continue
        yield ""
        yield f"**{phase.name}**{_end(phase)}"
        yield ""
        if phase.name in LEGENDS:
            yield LEGENDS[phase.name]
            yield ""
            yield "```"
            yield from lines(phase.rows)
            yield "```"
        else:
            yield from _tables(phase)
        if phase.failed:
            yield f"It failed: {phase.failed.strip().splitlines()[-1]}"


def _tables(phase: Phase) -> Iterator[str]:
    rows = [row for row in phase.rows if row.seconds is not None]
    compared = [row for row in phase.rows if row.right is not None]
    if rows:
        yield from _table(rows)
        yield ""
    if compared:
        yield from _compared(compared)
        yield ""


def _table(rows: Sequence[Row]) -> Iterator[str]:
    headings = (
        "what",
        "precision",
        "by",
        "median",
        "fastest",
        "rate",
        "share",
        "peak GiB",
        "budget GiB",
        "aim",
        "note",
    )
    shown = (
        (
            " ".join(filter(None, (row.what, f"{row.at} rows" if row.at.isdigit() else row.at))),
            row.dtype,
            row.way,
            _seconds(row.seconds or 0.0),
            _seconds(row.least) if row.least else "",
            f"{row.rate:.1f} {row.unit}" if row.rate is not None else "",
            f"{row.share:.0%}" if row.share is not None else "",
            f"{row.peak / 2**30:.2f}" if row.peak else "",
            f"{row.plan / 2**30:.1f}" if row.plan else "",
            _aim(row),
            row.note,
        )
        for row in rows
    )
    yield from Table(headings, shown, left=3).lines()


def _aim(row: Row) -> str:
    if row.met is None:
        return ""
    aim = f"{row.aim:g} s" if row.aim is not None else f"{row.aim_share:.0%}"
    return f"{aim}, {'met' if row.met else 'missed'}"


def _compared(rows: Sequence[Row]) -> Iterator[str]:
    shown = [
        (row.what, row.dtype, f"{row.error:.1e}", f"{row.allowed:.0e}" + ("" if row.right else ", WRONG"))
        for row in rows
    ]
    yield from Table(("error of", "precision", "error", "allowed"), shown, left=2).lines()
