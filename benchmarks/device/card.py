"""The device that is checked: everything that torch says of CUDA alone, and a twin of it for the CPU."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

#: The share of a card's memory, or of the part of it that is given, for the budget; the rest is for what an allocator
#: cannot use.
USABLE = 0.92


@dataclass
class Peak:
    """The most bytes that tensors took on the device; the process's anonymous memory on a CPU."""

    bytes: int = 0


class Card:
    """A CPU as the check sees it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def memory(self) -> int:
        """Bytes that can be had now."""
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES"))

    def facts(self) -> dict[str, str | float]:
        return {
            "card": platform.processor() or platform.machine(),
            "memory GiB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            **_versions(),
        }

    def synchronize(self) -> None:
        """Wait until everything is done."""

    def captured(self, works: Sequence[Callable[[], object]]) -> Callable[[], object]:
        """All of them as one thing to run, without Python's time between them where the device can."""

        def run() -> None:
            for work in works:
                work()

        return run

    @contextmanager
    def watched(self) -> Iterator[Peak]:
        """What is taken inside."""
        from benchmarks.machine import AnonymousMemory

        with AnonymousMemory() as memory:
            peak = Peak()
            yield peak
        peak.bytes = memory.peak

    @contextmanager
    def capped(self, nbytes: int | None) -> Iterator[int]:
        """The budget inside: what the device has, but at most so much of it."""
        yield int(USABLE * min(nbytes or self.memory // 2, self.memory // 2))

    def forget(self) -> None:
        """Give back what is kept for later."""

    def alive(self) -> bool:
        """Whether the device still answers this process: after some errors of a kernel it never does again."""
        return True


class Gpu(Card):
    """A GPU under CUDA."""

    @property
    def memory(self) -> int:
        return torch.cuda.mem_get_info(self.device)[0]

    def facts(self) -> dict[str, str | float]:
        properties = torch.cuda.get_device_properties(self.device)
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            driver = subprocess.run(asked, check=True, capture_output=True, text=True, timeout=30).stdout.split()[0]
        except (OSError, subprocess.SubprocessError, IndexError):
            driver = "unknown"
        return {
            "card": properties.name,
            "memory GiB": round(properties.total_memory / 2**30, 1),
            "compute capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "driver": driver,
            "CUDA": str(torch.version.cuda),
            **_versions(),
        }

    def synchronize(self) -> None:
        torch.cuda.synchronize(self.device)

    def captured(self, works: Sequence[Callable[[], object]]) -> Callable[[], object]:
        run = super().captured(works)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        return graph.replay

    @contextmanager
    def watched(self) -> Iterator[Peak]:
        self.synchronize()
        torch.cuda.reset_peak_memory_stats(self.device)
        peak = Peak()
        try:
            yield peak
        finally:
            self.synchronize()
            peak.bytes = torch.cuda.max_memory_allocated(self.device)

    @contextmanager
    def capped(self, nbytes: int | None) -> Iterator[int]:
        self.forget()
        total = torch.cuda.mem_get_info(self.device)[1]
        if nbytes is None or nbytes >= total:
            yield int(USABLE * self.memory)
            return
        torch.cuda.set_per_process_memory_fraction(nbytes / total, self.device)
        try:
            yield int(USABLE * nbytes)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, self.device)

    def forget(self) -> None:
        import gc

        gc.collect()
        torch.cuda.empty_cache()

    def alive(self) -> bool:
        try:
            self.synchronize()
            return bool(torch.ones(1, device=self.device).item() == 1)
        except RuntimeError:
            return False


def _versions() -> dict[str, str | float]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = "none"
    return {
        "torch": torch.__version__,
        "Triton": triton,
        "Python": platform.python_version(),
        "CPU cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
    }


def card_on(name: str) -> Card:
    """The device of torch's name for it. Raises RuntimeError where there is none."""
    device = torch.device(name)
    if device.type == "cpu":
        return Card(device)
    if device.type != "cuda" or not torch.cuda.is_available():
        raise RuntimeError(f"torch finds no device {name!r} here; try the check itself with --device cpu")
    return Gpu(torch.device("cuda", device.index or 0))
