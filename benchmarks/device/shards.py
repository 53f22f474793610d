"""Types of weights dealt out to several processes, which compile their kernels side by side."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from benchmarks.device.build import ROOT
from benchmarks.device.check import Check
from benchmarks.device.rows import Row, read


def sharded(check: Check, names: Sequence[str]) -> Iterator[Row]:
    """The rows of all these types as they come. A process that dies takes only its own types with it."""
    n = min(check.settings.shards, len(names))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(n) as pool:
        parts = [names[i::n] for i in range(n)]
        made = [pool.submit(partial(_part, check, part, Path(folder) / f"{i}.json")) for i, part in enumerate(parts)]
        for done in as_completed(made):
            yield from done.result()


def _part(check: Check, names: Sequence[str], out: Path) -> list[Row]:
    words = [*check.settings.words, "--only", "values", "--formats", *names, "--out", str(out)]
    threads = max(1, (os.cpu_count() or 1) // check.settings.shards)
    command = [sys.executable, "-m", "benchmarks", "device", *words]
    try:
        said = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            capture_output=True,
            text=True,
            timeout=max(1.0, check.clock.left),
            check=False,
        )
        why = (said.stdout + said.stderr)[-1000:]
    except subprocess.TimeoutExpired:
        why = f"not finished within the phase's {check.clock.limit:.0f} s"
    rows = [row for phase in read(out).phases for row in phase.rows] if out.exists() else []
    lost = [name for name in names if name not in {row.what for row in rows}]
    return rows + [Row("values", name, error=math.nan, allowed=0.0, note="not compared", trace=why) for name in lost]
