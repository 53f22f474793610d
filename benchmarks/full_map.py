"""The full map and the leading triplets of SmolLM2 at 8 tokens, beside autograd on the same detached graph.

The baseline is what one writes without operators: the detached graph in torch with its weights expanded to float32, and
reverse-mode autograd through a batch of copies of the prompt, one output dimension each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.timing import timed
from ggufjac import _native
from ggufjac.families.parts import Run
from ggufjac.maps.model import Model
from ggufjac.maps.passes import propagate, run_of
from ggufjac.registry import resolve

PROMPT = "The bridge out of Marin is the only"
COPIES = 64


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


def main() -> None:
    with Model.open(resolve("smollm2-135m")) as model:
        ids = model.tokenize(PROMPT)
        print(f"SmolLM2 Q4_1, {len(ids)} tokens, float32, {torch.get_num_threads()} threads")

        def fresh() -> Tensor:
            with torch.no_grad():
                return model.linearize(ids).jacobian()

        def triplets() -> object:
            with torch.no_grad():
                return model.linearize(ids).svd(8, method="sweeps")

        linear = model.linearize(ids)
        run = run_of(len(ids))
        slow, slow_median = timed(lambda: autograd_map(model, run, linear.inputs), 1)
        fast, fast_median = timed(fresh)
        few, few_median = timed(triplets)
        error = float((autograd_map(model, run, linear.inputs) - fresh()).norm() / fresh().norm())
    print(f"full map by autograd on the same graph   {slow:6.2f} s (median {slow_median:.2f})")
    for what, best, median in (("full map", fast, fast_median), ("top 8 combined triplets by sweeps", few, few_median)):
        print(f"{what:40} {best:6.2f} s (median {median:.2f})  ratio {slow / best:.1f}x")
    peak = _native.fma_peak(threads=torch.get_num_threads()) / 1e9
    print(f"peak of multiply-adds on these threads   {peak:6.0f} GFLOP/s")
    print(f"difference of the two full maps          {error:.1e} relative")
