"""What a large model costs: the coefficient pass, one sweep of some columns each way, and the leading triplets.

    python -m benchmarks scale MODEL [--tokens 8] [--columns 16] [--top 8] [--memory 4]

The baseline of every row is the larger of two times, both from rates measured in the same run: the operations at the
peak of multiply-adds, and the bytes that the row had read from the disk at the disk's sequential rate. "Cold" rows
begin with the file outside the page cache ("held": another process kept it there); where memory could hold the file,
"warm" rows follow them. Memory is the largest RssAnon of the process: everything that is resident except mapped files,
Python and torch (about 150 MiB) included.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import torch

from benchmarks.machine import AnonymousMemory, bytes_read, disk_rate, evict
from benchmarks.table import Table
from ggufjac import _native
from ggufjac.errors import UserError
from ggufjac.maps.costs.planner import Planner
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.model import Model
from ggufjac.quants.native import isa
from ggufjac.registry import resolve

HEADINGS = (
    "step", "file", "s", "GFLOP", "GFLOP/s", "s at peak", "GB read", "GB/s", "s at disk's rate", "ratio to the larger",
    "peak MiB",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One step: its time in seconds, its operations, the bytes that it had read from the disk, the peak of RssAnon."""

    step: str
    file: str
    seconds: float
    flops: int
    read: int
    memory: int


class Scale:
    """One model and one prompt of random tokens, with the rates of this machine: operations and bytes per second."""

    def __init__(self, model: Model, n_tokens: int, columns: int, top: int, memory: int | None) -> None:
        self.model = model
        self.columns, self.top, self.memory = columns, top, memory
        generator = torch.Generator().manual_seed(n_tokens)
        self.ids: list[int] = torch.randint(model.family.n_vocab, (n_tokens,), generator=generator).tolist()
        evict(model.file)
        self.disk = disk_rate(model.file.path)
        self.peak = _native.fma_peak(threads=torch.get_num_threads(), isa=isa())
        self.plan = Planner(model.family, n_tokens, self._linearize().budget.map)

    def rows(self) -> Iterator[Row]:
        """Every step, from a cold file and where memory could hold the file from a warm one."""
        available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        states = ("cold", "warm") if self.model.file.size < available / 2 else ("cold",)
        d, n_tokens, d_in = self.linear.shape
        x, y = torch.randn(self.columns, n_tokens, d_in), torch.randn(self.columns, d)
        steps: tuple[tuple[str, int, Callable[[], object]], ...] = (
            ("coefficients", self._prefill(), self._linearize),
            (f"forward, {self.columns} columns", self._sweep(False), lambda: self.linear.matmat(x)),
            (f"backward, {self.columns} columns", self._sweep(True), lambda: self.linear.rmatmat(y)),
        )
        for what, flops, work in steps:
            for state in states:
                yield self._measured(what, state, flops, work)
        yield self._triplets()

    def _linearize(self) -> DetachedMap:
        with torch.no_grad():
            self.linear = self.model.linearize(self.ids, memory=self.memory)
        return self.linear

    def _triplets(self) -> Row:
        """Coefficients and triplets together, from a cold file, as a user waits for them."""
        calls: dict[bool, int] = {}

        def work() -> None:
            linear = self._linearize()
            with (
                patch.object(linear, "matmat", wraps=linear.matmat) as forward,
                patch.object(linear, "rmatmat", wraps=linear.rmatmat) as backward,
            ):
                linear.svd(self.top, method="sweeps")
            calls.update({False: forward.call_count, True: backward.call_count})

        row = self._measured("", "cold", 0, work)
        block = self.linear.block(self.top)
        flops = self._prefill() + sum(n * self.plan.sweep(block, transposed=way).flops for way, n in calls.items())
        step = f"coefficients and top {self.top} triplets: {sum(calls.values())} sweeps of {block} columns"
        return replace(row, step=step, flops=flops)

    def _prefill(self) -> int:
        """Operations of the coefficient pass, the logits included."""
        return self.plan.prefill.flops + 2 * self.model.family.n_vocab * self.model.family.d

    def _sweep(self, transposed: bool) -> int:
        return self.plan.sweep(self.columns, transposed=transposed).flops

    def _measured(self, step: str, state: str, flops: int, work: Callable[[], object]) -> Row:
        if state == "cold":
            evict(self.model.file)
        with torch.no_grad(), AnonymousMemory() as memory:
            before, since = bytes_read(), time.perf_counter()
            work()
            seconds, read = time.perf_counter() - since, bytes_read() - before
        state = "held" if state == "cold" and not read else state
        return Row(step, state, seconds, flops, read, memory.peak)

    def cells(self, row: Row) -> list[str]:
        """A row of the table, with the times that its operations and its bytes take at this machine's rates."""
        compute, reading = row.flops / self.peak, row.read / self.disk
        return [
            row.step,
            row.file,
            f"{row.seconds:.2f}",
            f"{row.flops / 1e9:.0f}",
            f"{row.flops / row.seconds / 1e9:.0f}",
            f"{compute:.2f}",
            f"{row.read / 1e9:.2f}",
            f"{row.read / row.seconds / 1e9:.2f}",
            f"{reading:.2f}",
            f"{row.seconds / max(compute, reading):.2f}x",
            f"{row.memory / 2**20:.0f}",
        ]


def table(path: Path, n_tokens: int = 8, columns: int = 16, top: int = 8, memory: int | None = None) -> Table:
    """The rows of one model, measured as they are asked for."""
    model = Model.open(path)
    scale = Scale(model, n_tokens, columns, top, memory)
    family = model.family
    note = (
        f"{path.name}: {family.source.architecture}, {family.n_layer} layers, d {family.d}, "
        f"{model.file.size / 1e9:.1f} GB; {n_tokens} tokens, float32, {torch.get_num_threads()} threads. Multiply-adds "
        f"at most {scale.peak / 1e9:.0f} GFLOP/s; sequential reads {scale.disk / 1e9:.2f} GB/s."
    )
    return Table(HEADINGS, map(scale.cells, scale.rows()), note, left=2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--columns", type=int, default=16)
    parser.add_argument("--top", type=int, default=8)
    parser.add_argument("--memory", type=float, metavar="GIB", help="the budget of everything but the mapped file")
    args = parser.parse_args()
    memory = None if args.memory is None else int(args.memory * 2**30)
    try:
        table(resolve(args.model), args.tokens, args.columns, args.top, memory).print()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0
