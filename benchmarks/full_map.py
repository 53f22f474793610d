"""The full map and the leading triplets of small real models at 8 tokens, beside autograd on the same detached graph.

The baseline is what one writes without operators: the detached graph in torch with its weights expanded to float32, and
reverse-mode autograd through a batch of copies of the prompt, one output dimension each.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.table import Table
from benchmarks.timing import timed
from ggufjac import _native
from ggufjac.families.parts import Run
from ggufjac.maps.model import Model
from ggufjac.network.forward import propagate, run_of
from ggufjac.quants.native import isa
from ggufjac.registry import resolve

PROMPTS = {"smollm2-135m": "The bridge out of Marin is the only", "gemma3-270m": "The bridge out of Marin is the"}
COPIES = 64
HEADINGS = ("8 tokens, float32", "s", "median s", "ratio to autograd", "difference of the maps")


def autograd_map(model: Model, run: Run, x: Tensor) -> Tensor:
    """J [d, T, d] by reverse-mode autograd, COPIES output dimensions at a time."""
    d = model.family.d
    rows = []
    for start in range(0, d, COPIES):
        unit = torch.eye(d)[start : start + COPIES]
        point = x.expand(unit.shape[0], *x.shape).clone().requires_grad_()
        (rows_here,) = torch.autograd.grad(propagate(model.family, run, point).output[:, 0], point, unit)
        rows.append(rows_here)
    return torch.cat(rows)


def rows(name: str) -> Iterator[list[str]]:
    """Autograd first, then the full map and the triplets from a fresh coefficient pass."""
    with Model.open(resolve(name)) as model:
        ids = model.tokenize(PROMPTS[name])

        def full() -> Tensor:
            with torch.no_grad():
                return model.linearize(ids).jacobian()

        def triplets() -> object:
            with torch.no_grad():
                return model.linearize(ids).svd(8, method="sweeps")

        inputs, run = model.linearize(ids).inputs, run_of(ids, attached=True)
        baseline, median = timed(lambda: autograd_map(model, run, inputs), 1)
        error = float((autograd_map(model, run, inputs) - full()).norm() / full().norm())
        yield [f"{name}, full map by autograd", f"{baseline:.2f}", f"{median:.2f}", "1.0x", ""]
        best, median = timed(full)
        yield [f"{name}, full map", f"{best:.2f}", f"{median:.2f}", f"{baseline / best:.1f}x", f"{error:.1e}"]
        best, median = timed(triplets)
        yield [f"{name}, top 8 combined triplets", f"{best:.2f}", f"{median:.2f}", f"{baseline / best:.1f}x", ""]


def table() -> Table:
    threads = torch.get_num_threads()
    peak = _native.fma_peak(threads=threads, isa=isa()) / 1e9
    note = (
        "Prompts: "
        + ", ".join(f'{name} "{prompt}"' for name, prompt in PROMPTS.items())
        + f". Each time includes the coefficient pass. {threads} threads, whose peak of multiply-adds is "
        f"{peak:.0f} GFLOP/s."
    )
    return Table(HEADINGS, (row for name in PROMPTS for row in rows(name)), note)


def main() -> None:
    table().print()
