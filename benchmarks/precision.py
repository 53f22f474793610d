"""What each precision costs and misses: reconstruction, singular values and vectors beside those in float64."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.table import Table
from benchmarks.timing import timed
from ggufjac.analyses.compare.overlap import overlap
from ggufjac.maps.linear import SVD
from ggufjac.maps.model import Model
from ggufjac.registry import resolve

MODELS, PROMPT, TOP = ("smollm2-135m", "gemma3-270m"), "The bridge out of Marin is the", 8
DTYPES = (torch.float64, torch.float32, torch.bfloat16)
HEADINGS = (
    "model, dtype", "coefficients and triplets s", "ratio to float32", "reconstruction", "worst residual",
    "largest error of σ", "overlap of u", "overlap of v",
)  # fmt: skip


def rows() -> Iterator[list[str]]:
    for name in MODELS:
        with Model.open(resolve(name)) as model, torch.no_grad():
            ids = model.tokenize(PROMPT)
            exact: SVD | None = None
            seconds: dict[torch.dtype, float] = {}
            rest: dict[torch.dtype, list[str]] = {}
            for dtype in DTYPES:
                linear = model.linearize(ids, dtype=dtype)
                seconds[dtype], _ = timed(lambda: model.linearize(ids, dtype=dtype).svd(TOP, method="sweeps"), 3)  # noqa: B023
                svd = linear.svd(TOP, method="sweeps", tolerance=1e-9 if exact is None else None)
                exact = svd if exact is None else exact
                error = float(((svd.S.double() - exact.S) / exact.S).abs().max())
                rest[dtype] = [
                    f"{linear.reconstruction_error():.1e}",
                    f"{float(svd.residuals.max()):.1e}",
                    f"{error:.1e}",
                    f"{overlap(svd.U.double(), exact.U):.4f}",
                    f"{overlap(svd.V.flatten(1).double(), exact.V.flatten(1)):.4f}",
                ]
            for dtype in DTYPES:
                times = [f"{seconds[dtype]:.2f}", f"{seconds[dtype] / seconds[torch.float32]:.2f}x"]
                yield [f"{name}, {str(dtype).removeprefix('torch.')}", *times, *rest[dtype]]


def table() -> Table:
    note = (
        f'"{PROMPT}", top {TOP} triplets of the map of all tokens by sweeps. Errors of σ are relative to float64 '
        "at a residual of 1e-9; overlap: mean squared cosine of the principal angles of the leading vectors."
    )
    return Table(HEADINGS, rows(), note)


def main() -> None:
    table().print()
