"""Candidates compiled beforehand by processes side by side, for the card that waits: none of them touches it.

Triton keeps what it compiled in a folder, where the process that times then finds it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.errors import TritonError
from triton.runtime import driver

from benchmarks.device.trial.candidates import TYPE, candidates
from benchmarks.device.trial.launches import launches
from ggufjac.quants.triton_kernels.launch import WAVES, Card

ROOT = Path(__file__).parent.parent.parent.parent
#: Processors that are left to the process that times.
LEFT = 2
MOST = 14


class Compilers:
    """They run while this is entered."""

    def __init__(self, capability: int, shape: tuple[int, int]) -> None:
        self._about = [str(capability), *map(str, shape)]
        self._folder = tempfile.TemporaryDirectory()
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Compilers:
        count = max(1, min(MOST, (os.cpu_count() or 1) - LEFT))
        for part in range(count):
            file = str(Path(self._folder.name) / str(part))
            command = [sys.executable, "-m", __name__, str(part), str(count), file, *self._about]
            self._processes.append(subprocess.Popen(command, cwd=ROOT))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self._folder.cleanup()

    @property
    def running(self) -> bool:
        return any(process.poll() is None for process in self._processes)

    def told(self) -> dict[int, str]:
        """The candidates that are done, by number, and what the compiler says against them, "" for nothing."""
        found: dict[int, str] = {}
        for file in Path(self._folder.name).iterdir():
            for line in file.read_text().splitlines(keepends=True):
                if line.endswith("\n"):  # another process is writing
                    number, said = json.loads(line)
                    found[number] = said
        return found


class Absent:
    """A driver without its card, as far as the compiler asks."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_device_interface(self) -> Any:
        return torch.cuda

    def get_active_torch_device(self) -> torch.device:
        return torch.device("meta")


def compiled(part: int, count: int, file: Path, capability: int, n_out: int, n_in: int) -> None:
    """Every `count`-th candidate, for products with a matrix of this shape."""
    driver.set_active(Absent(capability))
    hopper = capability // 10 == 9
    packed = torch.empty(n_out, n_in // TYPE.block * TYPE.block_bytes, dtype=torch.uint8, device="meta")
    with file.open("w", buffering=1) as out:
        for number, candidate in enumerate(candidates(hopper=hopper)):
            if number % count != part:
                continue
            x = torch.empty(candidate.m, n_out if candidate.adjoint else n_in, dtype=candidate.dtype, device="meta")
            said = ""
            try:
                for made in launches(candidate, packed, n_in, x, Card(WAVES, hopper))[0]:
                    made.kernel.warmup(*made.arguments, grid=made.grid, **made.constants, **made.options)
            except (TritonError, RuntimeError) as error:
                said = f"{type(error).__name__}: {str(error)[-200:]}"
            except Exception as error:  # of this stand-in, perhaps: the process that times compiles it itself
                print(f"not compiled beforehand: {candidate.name}: {error}", file=sys.stderr)
            out.write(json.dumps([number, said]) + "\n")


if __name__ == "__main__":
    first, count, file, *about = sys.argv[1:]
    compiled(int(first), int(count), Path(file), *map(int, about))
