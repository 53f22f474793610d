"""The section "device" of RESULTS.md, from the file of a check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.device.rows import Log, Phase, Row
from benchmarks.device.show import end, lines, spelled, table
from benchmarks.table import Table

#: What the compact lines of a phase say.
LEGENDS = {
    "values": "Weights expanded (the share of them that differ in a bit), and the worst relative errors of products "
    "and maps.",
    "products": "For each number of rows: the time; of narrow blocks the share of what copies move, and how many times "
    "as long the library takes on expanded weights; of wide ones the rate and its share of the library's. An "
    "exclamation mark: the aim is missed.",
}


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
        yield f"**{phase.name}**{end(phase)}"
        yield ""
        if phase.name in LEGENDS:
            yield LEGENDS[phase.name]
            yield ""
            yield "```"
            yield from lines(phase.rows)
            yield "```"
        elif phase.name == "trial":
            yield from table(phase)
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
            spelled(row.seconds or 0.0),
            spelled(row.least) if row.least else "",
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
