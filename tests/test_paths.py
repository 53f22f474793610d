"""Paths by their last write and by position, against forward passes that follow the skips alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import IDS
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.model import Model
from ggufjac.maps.within.paths import last_writes, positions
from ggufjac.operators import Operator, Residual, Sequential, built
from ggufjac.quants.memory.budget import Budget
from tinymodels import make

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "side by side": ("gptneox", {}),
    "lanes": ("gemma4", {"n_layer": 8, "n_input": 256, "shared": 3, "double": True}),
    "recurrent": ("mamba2", {}),
}


@pytest.fixture(scope="module", params=FAMILIES)
def linear(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DetachedMap]:
    family, form = FAMILIES[request.param]
    path: Path = make(family, tmp_path_factory.mktemp("paths") / "tiny.gguf", **form)
    with Model.open(path) as model, torch.no_grad():
        yield model.linearize(IDS[:6], dtype=torch.float64)


@pytest.fixture(scope="module")
def functional(linear: DetachedMap) -> Tensor:
    return linear.logit_functional(int(linear.logits.argmax()))[0]


def outlets(op: Operator, x: Tensor, one: float | None) -> tuple[Tensor, list[tuple[str, Tensor, list[Operator]]]]:
    """What `op` makes of x, and every named write in it: what it adds, with the skips that this still passes there."""
    if isinstance(op, Sequential):
        found: list[tuple[str, Tensor, list[Operator]]] = []
        for part in op.operators:
            x, new = outlets(part, x, one)
            found = [(name, added, [*after, part]) for name, added, after in found] + new
        return x, found
    if isinstance(op, Residual):
        added = op.branch.apply(x, one)
        skipped, found = outlets(op.skip, x, one)
        # the write below this one goes past it
        return skipped + added, [*found, (op.name, added, [])]
    return op.apply(x, one), []


def past(op: Operator, x: Tensor) -> Tensor:
    """x through `op` by its skips alone."""
    if isinstance(op, Sequential):
        for part in op.operators:
            x = past(part, x)
        return x
    return past(op.skip, x) if isinstance(op, Residual) else op.apply(x)


def by_walking(linear: DetachedMap, functional: Tensor, x: Tensor, one: float | None) -> dict[tuple[int, str], float]:
    """What each write gives to the functional when x enters, sent on by the skips alone."""
    out = {}
    for at, op in enumerate(linear.operators):
        x, found = outlets(built(op), x, one)
        for name, added, after in found:
            for part in after:
                added = past(part, added)
            for above in linear.operators[at + 1 :]:
                added = past(built(above), added)
            out[at, name] = float(added[0, 0] @ functional)
    return out


def test_paths_by_last_write_are_those_of_a_forward_walk(linear: DetachedMap, functional: Tensor) -> None:
    found = last_writes(linear, functional)
    size = float(found.terms.abs().max())
    assert len(found.names) >= len(linear.forward_pass.layers)
    for t in range(len(linear.tokens)):
        x = torch.zeros_like(linear.inputs)
        x[t] = linear.inputs[t]
        walked = by_walking(linear, functional, x[None], None)
        assert tuple(walked) == found.names
        for row, value in enumerate(walked.values(), 1):
            assert float(found.terms[row, t]) == pytest.approx(value, abs=1e-10 * size)
    whole = by_walking(linear, functional, linear.inputs[None], 1.0)
    totals = found.terms.sum(1) + found.constants
    for row, value in enumerate(whole.values(), 1):
        assert float(totals[row]) == pytest.approx(value, abs=1e-10 * size)


def test_both_sums_are_those_of_the_tokens(linear: DetachedMap, functional: Tensor) -> None:
    exact = linear.attribute(functional[None])[0]
    writes, at = last_writes(linear, functional), positions(linear, functional)
    size = float(exact.abs().max())
    torch.testing.assert_close(writes.terms.sum(0), exact[:-1], rtol=0, atol=1e-11 * size)
    assert float(writes.constants.sum()) == pytest.approx(float(exact[-1]), abs=1e-11 * size)
    torch.testing.assert_close(at[0], exact, rtol=0, atol=1e-11 * size)
    torch.testing.assert_close(at.sum(1), (functional @ linear.output).expand(len(at)), rtol=0, atol=1e-11 * size)
    n_tokens = len(linear.tokens)
    assert float(at[-1, : n_tokens - 1].abs().max()) == 0  # the last block hands on the last position alone


def test_a_small_budget_changes_nothing(linear: DetachedMap, functional: Tensor) -> None:
    whole = last_writes(linear, functional)
    # three columns in flight at most
    tight = DetachedMap(linear.tokens, linear.forward_pass, Budget(2 * 3 * 2 * linear.inputs.numel() * 8))
    parts = last_writes(tight, functional)
    assert parts.names == whole.names
    torch.testing.assert_close(parts.terms, whole.terms)
    torch.testing.assert_close(parts.constants, whole.constants)
