"""What was measured, row by row, and the file that keeps it."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One measurement.

    what: its name; at: the point within a series of the same name; way: who computed it. seconds: the median of `runs`,
    least the fastest, first the one that warmed up, launched the median when Python starts every kernel. peak: bytes
    taken on the device, plan: the budget's. rate: in `unit`; share: of what the device's copies, or the library, do.
    aim: seconds at most, or in `unit` "share" a share at least. error: against the CPU, or what the map misses of the
    output; allowed: what it may be. trace: of the exception that took its place. minor: not shown on the screen.
    """

    phase: str
    what: str
    at: str = ""
    dtype: str = ""
    way: str = ""
    seconds: float | None = None
    least: float | None = None
    first: float | None = None
    launched: float | None = None
    runs: int = 0
    peak: int | None = None
    plan: int | None = None
    rate: float | None = None
    unit: str = ""
    share: float | None = None
    aim: float | None = None
    aim_share: float | None = None
    error: float | None = None
    allowed: float | None = None
    note: str = ""
    trace: str = ""
    minor: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None without one."""
        if self.aim is not None and self.seconds is not None:
            return self.seconds <= self.aim
        if self.aim_share is not None and self.share is not None:
            return self.share >= self.aim_share
        return None

    @property
    def right(self) -> bool | None:
        """Whether the error is one that may be; None where nothing was compared. What is no number is wrong."""
        if self.error is None or self.allowed is None:
            return None
        return self.error <= self.allowed


@dataclass
class Phase:
    """How one phase went. stopped: why it ended early; failed: its traceback."""

    name: str
    seconds: float = 0.0
    stopped: str = ""
    failed: str = ""
    rows: list[Row] = field(default_factory=list)


@dataclass
class Log:
    """All phases of one check, and what the device is."""

    out: Path
    facts: dict[str, str | float] = field(default_factory=dict)
    phases: list[Phase] = field(default_factory=list)
    date: str = field(default_factory=lambda: time.strftime("%Y-%m-%d"))

    def write(self) -> None:
        from ggufjac.atomic import write_text

        told = [asdict(p) | {"rows": [_told(row) for row in p.rows]} for p in self.phases]
        write_text(self.out, json.dumps({"date": self.date, "facts": self.facts, "phases": told}, indent=1))


def _told(row: Row) -> dict[str, Any]:
    """A row without what it does not have; numbers that JSON has no word for become text."""
    found: dict[str, Any] = asdict(row) | {"met": row.met, "right": row.right}
    found = {key: value for key, value in found.items() if value is not None and value != "" and key != "phase"}
    return {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in found.items()}


def read(path: Path) -> Log:
    """What `Log.write` wrote. Raises OSError, ValueError, KeyError or TypeError for anything else."""
    told = json.loads(path.read_text(encoding="utf-8"))
    log = Log(path, told["facts"], date=told["date"])
    for phase in told["phases"]:
        rows = [_row(phase["name"], row) for row in phase.pop("rows")]
        log.phases.append(Phase(**phase, rows=rows))
    return log


def _row(phase: str, told: dict[str, Any]) -> Row:
    kept = {key: value for key, value in told.items() if key not in ("met", "right")}
    if isinstance(kept.get("error"), str):
        kept["error"] = float(kept["error"])
    return Row(phase, **kept)
