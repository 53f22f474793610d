"""The phases one after the other: each with its own time, and none that keeps the next one from running."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.device.arguments import Settings
from benchmarks.device.rows import Log, Phase, Row, read

if TYPE_CHECKING:
    from benchmarks.device.check import Check, Clock

#: Seconds after which the file is written anew within a phase.
KEPT = 5.0
ROOT = Path(__file__).parent.parent.parent


def run(settings: Settings) -> int:
    """The exit status: 1 where a phase failed or a value is wrong. Aims that are missed are told and are no failure."""
    log = Log(settings.out)
    since = time.perf_counter()
    if "build" in settings.phases:
        _phase(log, "build", _built(), settings.limit)
    names = [name for name in settings.phases if name != "build"]
    check = _check(settings, log) if names else None
    while check is not None and names:
        name = names.pop(0)
        left = settings.total - (time.perf_counter() - since)
        if left <= 0:
            log.phases.append(Phase(name, stopped=f"not begun: {settings.total / 60:g} minutes are over"))
            continue
        check.clock = _clock(min(settings.limit, left))
        _phase(log, name, _rows(check, name), check.clock.limit)
        if check.card.alive():
            check.card.forget()
        elif names:
            _anew(settings, log, names, settings.total - (time.perf_counter() - since))
            names.clear()
    log.write()
    _say(*_closing(log), f"written: {settings.out}")
    wrong = any(row.right is False for phase in log.phases for row in phase.rows)
    return int(wrong or any(phase.failed for phase in log.phases))


def _phase(log: Log, name: str, rows: Iterator[Row], limit: float) -> None:
    """Run one phase to its end, to its limit, or to its failure."""
    from benchmarks.device.show import lines, table

    phase = Phase(name)
    log.phases.append(phase)
    _say(f"-- {name} (at most {limit:.0f} s)")
    since = written = time.perf_counter()
    held: list[Row] = []
    try:
        for row in rows:
            phase.rows.append(row)
            if held and (not row.at or (row.seconds is not None and row.what != held[-1].what)):
                _say(*lines(held))
                held.clear()
            held.append(row)
            now = time.perf_counter()
            phase.seconds = now - since
            if now - written > KEPT:
                log.write()
                written = now
            if phase.seconds > limit:
                phase.stopped = f"stopped after {phase.seconds:.0f} s; what comes after {row.what!r} was not run"
                break
    except Exception:
        phase.failed = traceback.format_exc()
    _say(*lines(held), *table(phase))
    for said in (phase.stopped, phase.failed):
        if said:
            _say(said)
    phase.seconds = time.perf_counter() - since
    try:
        log.write()
    except Exception as error:  # the extension may be missing still, or the disk full: what was printed remains
        _say(f"{log.out} was not written: {error}")


def _anew(settings: Settings, log: Log, names: list[str], left: float) -> None:
    """The phases that are left, in a process of their own: the device does not answer this one any more."""
    _say("the device does not answer any more; what is left runs in a new process")
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "device.json"
        words = [*settings.words, "--only", *names, "--out", str(part), "--within", str(left / 60)]
        subprocess.run([sys.executable, "-m", "benchmarks", "device", *words], cwd=ROOT, check=False)
        if part.exists():
            log.phases += read(part).phases
        else:
            log.phases += [Phase(name, failed="the new process wrote nothing") for name in names]


def _built() -> Iterator[Row]:
    from benchmarks.device.build import build, importable

    if importable():
        yield Row("build", "the extension is there")
    else:
        yield Row("build", "the extension was built", seconds=build())


def _check(settings: Settings, log: Log) -> Check | None:
    """The device and what its copies do; None where there is no such device."""
    try:
        from benchmarks.device import copies
        from benchmarks.device.card import card_on
        from benchmarks.device.check import Check

        card = card_on(settings.device)
        log.facts |= card.facts()
        if settings.formats:  # one of several processes at once, which compare and time nothing
            return Check(settings, card, _clock(settings.limit), math.nan)
        rate = copies.on_device(card, settings.scale.copied)
        log.facts["copies GB/s"] = rate / 1e9
        log.facts["from host GB/s"] = copies.from_host(card, settings.scale.copied) / 1e9
        card.forget()
    except Exception:
        log.phases.append(Phase("device", failed=traceback.format_exc()))
        _say(log.phases[-1].failed)
        return None
    _say(
        ", ".join(
            f"{key} {value:.0f}" if isinstance(value, float) else f"{key} {value}" for key, value in log.facts.items()
        )
    )
    return Check(settings, card, _clock(settings.limit), rate)


def _rows(check: Check, name: str) -> Iterator[Row]:
    """The rows of a phase; its module is imported when it is its turn."""
    if name == "values":
        from benchmarks.device import values

        yield from values.rows(check)
    elif name == "products":
        from benchmarks.device import products

        yield from products.rows(check)
    elif name == "trial":
        from benchmarks.device.trial import phase

        yield from phase.rows(check)
    else:
        from benchmarks.device import models

        yield from models.rows(check, name)


def _clock(limit: float) -> Clock:
    from benchmarks.device.check import Clock

    return Clock(limit)


def _closing(log: Log) -> Iterator[str]:
    from benchmarks.device.show import closing

    return closing(log)


def _say(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)
    sys.stdout.flush()
