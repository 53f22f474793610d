"""SmolLM2 and Gemma 3 270M: the numbers that the README promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from ggufjac.analyses.judge.verify import PROMPTS, direct, twin
from ggufjac.maps.model import Model

BRIDGE = "The bridge out of Marin is the"
LONG = (
    "It was a bright cold day in April, and the clocks were striking thirteen. Nobody in the little harbour town "
    "remembered when the lighthouse had last been lit, but everyone knew the keeper's daughter, who walked the pier "
    "each evening with a lantern and a book, reading aloud to the gulls, to the moored boats, and to"
)


@pytest.fixture(scope="module", params=["smollm2", "gemma3"])
def model(request: pytest.FixtureRequest) -> Iterator[Model]:
    path: Path = request.getfixturevalue(f"{request.param}_path")
    with Model.open(path) as opened:
        yield opened


def prompt_ids(model: Model, n: int) -> list[int]:
    if n == 7:
        return model.tokenize(BRIDGE)
    ids = model.tokenize(LONG)
    assert len(ids) >= n
    return ids[:n]


@pytest.mark.parametrize("n", [1, 7, 60])
def test_reconstruction(model: Model, n: int) -> None:
    ids = prompt_ids(model, n)
    assert model.linearize(ids).reconstruction_error() < 1e-5
    assert model.linearize(ids, dtype=torch.float64).reconstruction_error() < 1e-13


def test_the_ordinary_jacobian_does_not_reconstruct(model: Model) -> None:
    assert model.linearize(BRIDGE, rules="ordinary").reconstruction_error() > 0.1


def test_llama_cpp_agrees_on_the_file_as_it_is(model: Model) -> None:
    result = direct(model, PROMPTS)
    assert result.agrees
    assert sum(check.verdict == "MATCH" for check in result.checks) >= len(PROMPTS) - 1


def test_llama_cpp_agrees_on_the_twin(model: Model, tmp_path: Path) -> None:
    """SiLU: logits to 1e-4 of their spread, free-running. GELU from llama.cpp's table: to 5e-3 free-running, and to
    1e-4 with its own arguments of GELU. Every step of every layer: 1e-4."""
    result = twin(model, PROMPTS[:3], gelu_table=model.family.gelu, directory=tmp_path)
    assert result.agrees
    assert list(tmp_path.iterdir()) == []
    for check in result.checks:
        assert len(check.layers) > 4 * model.family.n_layer
        assert max(layer.relative for layer in check.layers) < 1e-4
        assert check.agreement.relative < (5e-3 if model.family.gelu else 1e-4)
        if model.family.gelu:
            assert check.same_gelu is not None
            assert check.same_gelu < 1e-4


def test_svd_is_that_of_the_dense_map(smollm2_path: Path) -> None:
    with Model.open(smollm2_path) as model:
        linear = model.linearize(BRIDGE)
        by_sweeps = linear.svd(8, method="sweeps")
        dense = linear.jacobian().flatten(1).double().numpy()
        np.testing.assert_allclose(by_sweeps.S, np.linalg.svd(dense, compute_uv=False)[:8], rtol=1e-4)
        assert by_sweeps.residuals.max() <= 1e-3
        each = linear.svd(4, "each")
        for t in (0, 4):
            own = linear.jacobian()[:, t].double().numpy()
            np.testing.assert_allclose(each.S[t], np.linalg.svd(own, compute_uv=False)[:4], rtol=1e-4)


def test_known_tokens_and_predictions(smollm2_path: Path, gemma3_path: Path) -> None:
    with Model.open(smollm2_path) as model:
        assert model.tokenize(BRIDGE) == [504, 7395, 578, 282, 43749, 314, 260]
        top = model.linearize("The capital of France is").logits.argmax()
        assert model.detokenize([int(top)]) == " Paris"
    with Model.open(gemma3_path) as model:
        first = model.linearize("The Golden").logits.topk(2).indices.tolist()
        assert [model.detokenize([i]) for i in first] == [" State", " Gate"]
