"""Jacobians between the streams of a text, under every kind of rules, against autograd of the same estimator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ggufjac.maps.lens.streams import TextStreams
from ggufjac.maps.model import Model
from ggufjac.maps.options import MapOptions
from ggufjac.network.forward import propagate, run_of
from ggufjac.operators.span import span
from ggufjac.rules import rules_called
from tinymodels import make

#: Latent attention, experts, recurrences, windows, and streams that are wider than the embeddings.
FAMILIES = ["llama", "gemma3", "qwen3moe", "deepseek2", "mamba2", "glm5-next"]
RULES = ["ordinary", "rlens", "lrp", "detached"]
#: Tokens of the text, and the first positions that count for nothing.
LENGTH, SKIP = 14, 5


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path = tmp_path_factory.mktemp("lens") / "tiny.gguf"
    with Model.open(make(request.param, path)) as opened:
        yield opened


def ids_of(model: Model) -> list[int]:
    return [(7 * i * i + 3 * i) % model.family.n_vocab for i in range(LENGTH)]


def streams(model: Model, rules: str = "ordinary", start: int = SKIP, memory: int | None = None) -> TextStreams:
    with torch.no_grad():
        options = MapOptions("float64", rules=rules, memory=memory)
        return model.linearize_streams(ids_of(model), options, start)


def by_autograd(model: Model, rules: str, width: int) -> list[Tensor]:
    """The estimator as it is defined, by block: a cotangent at every valid target at once, on a copy of the text each;
    the mean of the gradient over the valid sources."""
    ids = ids_of(model)
    inputs = model.embed(ids, torch.float64)
    x = inputs.expand(width, *inputs.shape).clone().requires_grad_()
    run = run_of(ids, attached=True, rules=rules_called(rules))
    states = propagate(model.family, run, x, last_only=False).states
    cotangents = torch.zeros_like(states[-1])
    cotangents[range(width), SKIP:, range(width)] = 1
    gradients = torch.autograd.grad(states[-1], states[1:-1], cotangents)
    return [gradient[:, SKIP:].mean(1) for gradient in gradients]


@pytest.mark.parametrize("rules", RULES)
def test_jacobians_are_autograds(model: Model, rules: str) -> None:
    found = streams(model, rules)
    with torch.no_grad():
        jacobians = found.jacobians(range(found.n_layer))
    assert torch.equal(jacobians.pop(found.n_layer - 1), torch.eye(found.shape[0], dtype=torch.float64))
    right = by_autograd(model, rules, found.shape[0])
    assert len(right) == len(jacobians) >= 1
    for layer, j in jacobians.items():
        assert j.shape == (found.widths[-1], found.widths[layer])
        assert (j - right[layer]).abs().max() <= 1e-10 * right[layer].abs().max()


@pytest.mark.parametrize("rules", RULES[::2])
def test_states_are_transported_as_the_jacobian_does(model: Model, rules: str) -> None:
    """Which is what the adjoint of the one sweep is in the other."""
    found = streams(model, rules)
    layers = range(found.n_layer)
    draw = torch.Generator().manual_seed(1)
    states = {
        layer: torch.randn(2, found.widths[layer], dtype=torch.float64, generator=draw) for layer in reversed(layers)
    }
    with torch.no_grad():
        jacobians = found.jacobians(layers)
        transported = found.transported(states)
    for layer, h in states.items():
        right = h @ jacobians[layer].mT
        assert (transported[layer] - right).abs().max() <= 1e-10 * right.abs().max()


def test_some_blocks_are_those_of_all(model: Model) -> None:
    found = streams(model)
    with torch.no_grad():
        every, first = found.jacobians(range(found.n_layer)), found.jacobians([0])
    assert list(first) == [0]
    torch.testing.assert_close(first[0], every[0], rtol=1e-12, atol=1e-14)


def test_little_memory_gives_the_same_in_pieces(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of as many columns as there is room for."""
    found = streams(model)
    layers = range(found.n_layer)
    states = {layer: torch.eye(found.widths[layer], dtype=torch.float64)[:5] for layer in layers}
    with torch.no_grad():
        whole, carried = found.jacobians(layers), found.transported(states)
        column = found.n_positions * max(*found.widths, found.inputs.shape[-1]) * found.inputs.element_size()
        tight = streams(model)
        sizes: list[int] = []
        descend = TextStreams._descend
        tight.room = 3 * max(column, found.inputs.numel() * found.inputs.element_size())
        monkeypatch.setattr(
            TextStreams, "_descend", lambda self, g, below: sizes.append(len(g)) or descend(self, g, below)
        )
        pieces, pieced = tight.jacobians(layers), tight.transported(states)
    assert len(sizes) > 1
    for layer in layers:
        torch.testing.assert_close(pieces[layer], whole[layer], rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(pieced[layer], carried[layer], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("rules", RULES[::3])
def test_a_span_of_an_operator_is_the_whole_one_there(model: Model, rules: str) -> None:
    """Columns that are zero before a position stay so on their way up, cotangents behind one on their way down."""
    found = streams(model, rules, 0)
    draw = torch.Generator().manual_seed(2)
    for start, stop in ((SKIP, LENGTH), (0, 9), (3, 11)):
        for layer, op in enumerate(found.operators):
            part = span(op, start, stop, LENGTH)
            n_in = found.widths[layer - 1] if layer else found.inputs.shape[-1]
            x = torch.zeros(2, LENGTH, n_in, dtype=torch.float64)
            x[:, start:stop] = torch.randn(2, stop - start, n_in, dtype=torch.float64, generator=draw)
            g = torch.zeros(2, LENGTH, found.widths[layer], dtype=torch.float64)
            g[:, start:stop] = torch.randn(2, stop - start, g.shape[-1], dtype=torch.float64, generator=draw)
            with torch.no_grad():
                up, down = part.apply(x[:, start:stop]), part.adjoint(g[:, start:stop])
                torch.testing.assert_close(up, op.apply(x)[:, start:stop], rtol=1e-10, atol=1e-12)
                torch.testing.assert_close(down, op.adjoint(g)[:, start:stop], rtol=1e-10, atol=1e-12)
                torch.testing.assert_close((up * g[:, start:stop]).sum(), (x[:, start:stop] * down).sum())


def test_no_position_is_left_behind_the_first_ones(tmp_path: Path) -> None:
    with Model.open(make("llama", tmp_path / "tiny.gguf")) as opened:
        found = streams(opened, start=LENGTH - 1)
        assert found.n_positions == 1
        with torch.no_grad():
            assert found.jacobians([0])[0].isfinite().all()
