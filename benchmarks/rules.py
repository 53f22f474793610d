"""The full map of a small real model at 8 tokens by every preset of rules, beside autograd's derivative.

The baseline is the ordinary Jacobian by reverse-mode autograd of the same network, through a batch of copies of the
prompt, one output dimension each.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.full_map import PROMPTS, autograd_map
from benchmarks.table import Table
from benchmarks.timing import timed
from ggufjac.maps.model import Model
from ggufjac.network.forward import run_of
from ggufjac.registry import resolve
from ggufjac.rules import PRESETS

MODEL = "smollm2-135m"
HEADINGS = ("8 tokens, float32", "full map, s", "ratio to autograd", "beside detached", "terms of one logit, s")


def rows() -> Iterator[list[str]]:
    """Autograd, then every preset, each from a fresh coefficient pass; the presets take turns."""
    with Model.open(resolve(MODEL)) as model:
        ids = model.tokenize(PROMPTS[MODEL])
        inputs = model.linearize(ids).inputs
        run = run_of(ids, attached=True, rules=PRESETS["ordinary"])
        by_autograd, _ = timed(lambda: autograd_map(model, run, inputs), 2)
        yield ["ordinary, by autograd", f"{by_autograd:.2f}", "1.0x", "", ""]
        full = {name: timed(partial(_full, model, ids, name), 3)[0] for name in PRESETS}
        for name, seconds in full.items():
            terms, _ = timed(partial(_terms, model, ids, name))
            ratio, beside = by_autograd / seconds, seconds / full["detached"]
            yield [name, f"{seconds:.2f}", f"{ratio:.1f}x", f"{beside:.2f}x", f"{terms:.2f}"]


def _full(model: Model, ids: list[int], rules: str) -> Tensor:
    with torch.no_grad():
        return model.linearize(ids, rules=rules).jacobian()


def _terms(model: Model, ids: list[int], rules: str) -> Tensor:
    with torch.no_grad():
        linear = model.linearize(ids, rules=rules)
        functional, _ = linear.logit_functional(int(linear.logits.argmax()))
        return linear.attribute(functional[None])


def table() -> Table:
    note = f'{MODEL} "{PROMPTS[MODEL]}"; {torch.get_num_threads()} threads. Each time includes the coefficient pass.'
    return Table(HEADINGS, rows(), note)


def main() -> None:
    table().print()
