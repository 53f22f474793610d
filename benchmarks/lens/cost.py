"""What a text costs when a lens is fitted, beside autograd on expanded weights.

The baseline is what the first implementation of such lenses does, in plain torch with weights expanded to float32:
copies of the text run once, then cotangents of as many entries of the last stream at a time go back to all streams at
once by torch.autograd.grad, the graph kept. It is timed for a few entries, and ours for all entries through the last
few blocks; both are extrapolated to all of them, as every one costs the same. "CPU" is the time of all threads
together. The difference is that of the same rows of J by both, relative to the largest of its entries: of every block
by J's product with a vector, and of the last few by themselves.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from benchmarks.lens.plain import Plain
from benchmarks.table import Table
from ggufjac.analyses.lens.options import LENGTH, SKIP, LensFitOptions
from ggufjac.maps.lens.streams import TextStreams
from ggufjac.maps.model import Model
from ggufjac.registry import resolve

Dtype = Literal["float32", "bfloat16"]
MODELS, RULES = ("smollm2-135m", "qwen2.5-coder-0.5b"), ("ordinary", "detached")
DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16")
#: Copies of the text side by side, what a machine of 24 GB holds of a small model's graph; chunks of so many entries
#: that are timed; blocks that ours is timed through.
COPIES, CHUNKS, BLOCKS = 8, 1, 1
HEADINGS = ("a text of 128 tokens", "s a text", "CPU s a text", "ratio", "ratio of CPU", "difference")
TEXT = """The harbour was quiet in the morning, and the boats lay on the sand as the tide had left them. An old man who
mended nets sat in front of the last house, and told whoever came by that the weather would turn before the evening. In
the north the mountains were still white, although it was the middle of April and the orchards in the valley had begun
to flower. The children of the school had been promised a journey to the island with the lighthouse, where a painter
from the city lived among her pictures and a great number of cats. Nobody knew how she had come there, but every summer
she sent a large painting to the mayor, who hung it in the hall, under the clock, and thanked her in a long letter."""


@dataclass(frozen=True)
class Spent:
    """Seconds: by the clock, and of all threads together."""

    wall: float
    cpu: float

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.wall + other.wall, self.cpu + other.cpu)

    def __mul__(self, times: float) -> Spent:
        return Spent(self.wall * times, self.cpu * times)


def spent(work: Callable[[], Tensor | TextStreams | dict[int, Tensor] | list[Tensor]]) -> Spent:
    """What one run takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


class ByAutograd:
    """The rows of J of every block, some entries of the last stream at a time."""

    def __init__(self, model: Model, text: Sequence[int], rules: str) -> None:
        plain = Plain(model.file, detached=rules == "detached")
        self.valid = slice(SKIP, len(text) - 1)
        self.d = model.family.d

        def run() -> list[Tensor]:
            x = model.embed(list(text), torch.float32).expand(COPIES, -1, -1).clone().requires_grad_()
            self.streams = plain.streams(x)
            return self.streams

        self.once = spent(run)

    def rows(self, start: int) -> list[Tensor]:
        """Rows `start` to `start` + COPIES of every block's J but the last one's."""
        last = self.streams[-1]
        g = torch.zeros_like(last)
        for i in range(COPIES):
            g[i, self.valid, start + i] = 1
        found = torch.autograd.grad(last, self.streams[:-1], g, retain_graph=True)
        return [gradient[:, self.valid].mean(1) for gradient in found]

    def cost(self) -> Spent:
        """Of a text: the copies' run, and all entries."""
        self.rows(0)
        chunks = spent(lambda: [row for i in range(CHUNKS) for row in self.rows(i * COPIES)])
        return self.once + chunks * (self.d / COPIES / CHUNKS)


class Ours:
    """The same by sweeps."""

    def __init__(self, model: Model, text: Sequence[int], rules: str, dtype: Dtype) -> None:
        options = LensFitOptions(dtype=dtype, rules=rules)

        def run() -> TextStreams:
            self.streams = model.linearize_streams(text[:-1], options, SKIP)
            return self.streams

        run()  # the file comes into memory
        self.once = spent(run)
        self.n = self.streams.n_layer
        self.last = range(self.n - 1 - BLOCKS, self.n - 1)

    def cost(self) -> Spent:
        """Of a text: the coefficient pass, and a sweep through all blocks but the first."""

        def sweep() -> dict[int, Tensor]:
            self.jacobians = self.streams.jacobians(self.last)
            return self.jacobians

        return self.once + spent(sweep) * ((self.n - 1) / BLOCKS)

    def difference(self, rows: Sequence[Tensor]) -> float:
        """From the first rows of every block by autograd."""
        vector = torch.randn(self.streams.shape[0], generator=torch.Generator().manual_seed(0))
        ours = self.streams.transported(dict.fromkeys(range(self.n - 1), vector[None]))
        pairs = [(ours[layer][0, :COPIES], rows[layer] @ vector) for layer in range(self.n - 1)]
        pairs += [(self.jacobians[layer][:COPIES], rows[layer]) for layer in self.last]
        return max(float((mine - theirs).abs().max() / theirs.abs().max()) for mine, theirs in pairs)


def rows(names: Sequence[str], dtypes: Sequence[Dtype]) -> Iterator[list[str]]:
    """Autograd under both rules, each followed by ours."""
    for name in names:
        with Model.open(resolve(name)) as model:
            text = tuple(model.tokenize(TEXT)[:LENGTH])
            for rules in RULES:
                baseline = ByAutograd(model, text, rules)
                by_autograd, theirs = baseline.cost(), baseline.rows(0)
                del baseline
                yield [f"{name}, {rules}, by autograd", *_times(by_autograd, by_autograd), ""]
                for dtype in dtypes:
                    with torch.no_grad():
                        ours = Ours(model, text, rules, dtype)
                        times = _times(ours.cost(), by_autograd)
                        yield [f"{name}, {rules}, {dtype}", *times, f"{ours.difference(theirs):.1e}"]


def _times(found: Spent, baseline: Spent) -> list[str]:
    ratios = (baseline.wall / found.wall, baseline.cpu / found.cpu)
    return [f"{found.wall:.1f}", f"{found.cpu:.1f}", *(f"{ratio:.1f}x" for ratio in ratios)]


def table(names: Sequence[str] = MODELS, dtypes: Sequence[Dtype] = DTYPES) -> Table:
    note = (
        f"{torch.get_num_threads()} threads; {COPIES} copies of the text in autograd, {CHUNKS * COPIES} entries timed; "
        f"ours timed through the last {BLOCKS} of the blocks."
    )
    return Table(HEADINGS, rows(names, dtypes), note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="MODEL")
    parser.add_argument("--dtypes", nargs="+", default=DTYPES, choices=DTYPES)
    args = parser.parse_args()
    table(args.models, args.dtypes).print()
