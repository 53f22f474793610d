"""How far every family is from llama.cpp, and how exact its map is: one row per architecture.

Small random models of every form of the family (tests/tinymodels), prompts of 1, 7 and 40 tokens. The baseline is
llama.cpp on the same float32 weights with a float32 cache. Columns hold the worst case over forms and prompts.
"""

from __future__ import annotations

import inspect
import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from benchmarks.table import Table
from ggufjac.analyses.judge.verify import twin
from ggufjac.families import ARCHITECTURES
from ggufjac.maps.model import Model
from tinymodels import BOS, FAMILIES, VOCAB_SIZE, make

PROMPT = [BOS, *np.random.default_rng(7).integers(3, VOCAB_SIZE, 39).tolist()]
LENGTHS = (1, 7, 40)
HEADINGS = (
    "architecture", "forms", "logits / spread", "with llama.cpp's GELU arguments", "worst step",
    "reconstruction float32", "float64", "lines",
)  # fmt: skip


def measure(path: Path) -> tuple[float, float, float, float, float]:
    """Logits over their spread, the same with llama.cpp's GELU arguments (nan: none), steps, reconstruction errors."""
    with Model.open(path) as model:
        prompts = [PROMPT[:n] for n in LENGTHS]
        checks = twin(model, prompts, gelu_table=model.family.gelu, threads=1).checks
        return (
            max(check.worst for check in checks),
            max(check.same_gelu if check.same_gelu is not None else math.nan for check in checks),
            max(layer.relative for check in checks for layer in check.layers),
            max(model.linearize(prompt).reconstruction_error() for prompt in prompts),
            max(model.linearize(prompt, dtype=torch.float64).reconstruction_error() for prompt in prompts),
        )


def rows() -> Iterator[list[str]]:
    for name in sorted(FAMILIES):
        forms = [{}, *FAMILIES[name].variants.values()]
        with tempfile.TemporaryDirectory() as folder:
            found = [measure(make(name, Path(folder) / f"{i}.gguf", **form)) for i, form in enumerate(forms)]
        logits, same, step, single, double = (max(column) for column in zip(*found, strict=True))
        lines = len(Path(inspect.getfile(ARCHITECTURES[name])).read_text(encoding="utf-8").splitlines())
        gelu = "" if math.isnan(same) else f"{same:.1e}"
        errors = (f"{step:.1e}", f"{single:.1e}", f"{double:.1e}")
        yield [name, str(len(forms)), f"{logits:.1e}", gelu, *errors, str(lines)]


def table() -> Table:
    return Table(HEADINGS, rows())


def main() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        table().print()
    finally:
        torch.set_num_threads(threads)
