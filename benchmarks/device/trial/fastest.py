"""The table of a trial: for every product the engine's way, and beside it the fastest one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.device.rows import Row
from benchmarks.device.show import spelled
from benchmarks.device.trial.tried import NOW
from benchmarks.table import Table

HEADINGS = ("what", "rows", "precision", "now", "fastest", "times as fast", "rate", "share", "error", "by")


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """Of a phase's rows, also of those that were read from a file."""
    found: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        if row.seconds is not None and row.way:
            found.setdefault((row.what, row.at, row.dtype, row.unit), []).append(row)
    if found:
        yield from Table(HEADINGS, map(_cells, found.values()), left=1).lines()


def _cells(rows: Sequence[Row]) -> tuple[str, ...]:
    now = next((row.seconds for row in rows if row.note == NOW), None)
    best = min(rows, key=lambda row: row.seconds or 0.0)
    return (
        best.what,
        best.at,
        best.dtype,
        spelled(now) if now else "",
        spelled(best.seconds or 0.0),
        f"{now / best.seconds:.2f}" if now and best.seconds else "",
        f"{best.rate:.3g} {best.unit}" if best.rate is not None else "",
        f"{best.share:.0%}" if best.share is not None else "",
        f"{best.error:.0e}" if best.error is not None else "",
        best.way,
    )
