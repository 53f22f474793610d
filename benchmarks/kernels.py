"""How fast the kernels are: against this machine's peak, torch, NumPy and llama.cpp, measured side by side.

    python benchmarks/kernels.py                          # a table: types x shapes x numbers of columns
    python benchmarks/kernels.py --types Q4_K,F32 --shapes 4096x14336 --columns 1,16,256 --dtype float64

torch and NumPy multiply the same matrix expanded to the same float type, which they read from memory in full; the
kernels read the packed weights. llama.cpp multiplies the packed weights too, with activations that it rounds to 8 bits
(to 16 before 16-bit weights), so that it can work in integers; it has no product with the transposed matrix. Peak is
the rate of independent fused multiply-adds in registers, measured anew before every row, so that another program's
share of the processor weighs on all. Times are the best of repeated runs that alternate between the contestants.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.ggml import GgmlProduct
from ggufjac import _native
from ggufjac.quants import native
from ggufjac.reader.types import GGMLType

TYPES = "Q4_K,Q6_K,Q8_0,Q4_0,F16,F32"
SHAPES = "4096x14336,576x1536,1536x576,640x2048,192x576"
COLUMNS = "1,4,16,64,256,1024"


def best(contestants: Sequence[Callable[[], Any]], seconds: float) -> list[float]:
    """The shortest run of each, in seconds; they take turns until `seconds` are over, two turns at least.

    A turn is three runs: during the first one the threads of the contestant before may still be spinning.
    """
    times = [float("inf")] * len(contestants)
    for run in contestants:
        run()
    start, turns = time.perf_counter(), 0
    while turns < 2 or time.perf_counter() - start < seconds:
        for i, run in enumerate(contestants):
            for _ in range(3):
                begin = time.perf_counter()
                run()
                times[i] = min(times[i], time.perf_counter() - begin)
        turns += 1
    return times


def packed_weights(type: GGMLType, rows: int, cols: int) -> NDArray[np.uint8]:
    """Blocks of finite weights: bytes below 60 make small positive halves wherever a block keeps its scales."""
    rng = np.random.default_rng(0)
    if type == GGMLType.F32:
        return rng.standard_normal((rows, cols), dtype=np.float32).view(np.uint8)
    return rng.integers(0, 60, (rows, cols // type.block * type.block_bytes), dtype=np.uint8)


def measure(
    type: GGMLType, data: NDArray[np.uint8], expanded: NDArray[Any], m: int, adjoint: bool, args: argparse.Namespace
) -> str:
    """One row of the table: milliseconds, rate, share of the peak, and how many times as long the others take."""
    import torch

    weights = expanded if adjoint else expanded.T
    x = np.random.default_rng(1).standard_normal((m, weights.shape[0])).astype(expanded.dtype)
    out = np.empty((m, weights.shape[1]), expanded.dtype)
    kernel = _native.matmul_adjoint if adjoint else _native.matmul
    peak = _native.fma_peak(expanded.dtype == np.float64, args.threads, args.seconds / 2, args.isa)
    contestants: list[Callable[[], Any]] = [
        partial(kernel, type, data, x, out, native.codebook(type), args.threads, args.isa),
        partial(torch.matmul, torch.from_numpy(x), torch.from_numpy(weights)),
        partial(np.matmul, x, weights, out=np.empty_like(out)),
    ]
    same = not adjoint and x.dtype == np.float32
    with GgmlProduct(type, data, x, args.threads) if same else nullcontext() as ggml:
        ours, *others = best(contestants if ggml is None else [*contestants, ggml.run], args.seconds)
    rate = 2 * expanded.size * m / ours
    ratios = "".join(f"{seconds / ours:9.2f}" for seconds in others)
    return f"{ours * 1e3:9.3f}{rate / 1e9:9.1f}{rate / peak:9.0%}{ratios}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--types", default=TYPES)
    parser.add_argument("--shapes", default=SHAPES, help="rows x cols, comma-separated; cols are cut to whole blocks")
    parser.add_argument("--columns", default=COLUMNS, help="how many columns are multiplied at a time")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--threads", type=int, default=_native.info()["threads"])
    parser.add_argument("--seconds", type=float, default=0.2, help="time to spend on one measurement")
    parser.add_argument("--isa", choices=_native.info()["runnable"], default=native.isa())
    args = parser.parse_args()

    import torch

    torch.set_num_threads(args.threads)
    print(f"isa {args.isa}, {args.threads} threads, {args.dtype}, torch {torch.__version__}")
    headings = "".join(f"{h:>9}" for h in ("ms", "GFLOP/s", "of peak", "x torch", "x numpy", "x llama"))
    print(f"{'type':8}{'rows x cols':>13}{'m':>6}{'':9}{headings}")
    for shape in args.shapes.split(","):
        rows, wanted = map(int, shape.split("x"))
        for name in args.types.split(","):
            type = GGMLType[name]
            cols = wanted // type.block * type.block
            data = packed_weights(type, rows, cols)
            expanded = native.dequantize(type, data).astype(args.dtype)
            for m in map(int, args.columns.split(",")):
                for adjoint in (False, True):
                    row = measure(type, data, expanded, m, adjoint, args)
                    what = "adjoint" if adjoint else "apply"
                    print(f"{name:8}{f'{rows} x {cols}':>13}{m:6} {what:8}{row}", flush=True)


if __name__ == "__main__":
    main()
