"""Patching of single heads: real runs against loops that are written out, estimates against autograd, the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from conftest import printed
from ggufjac.analyses.options import PatchOptions
from ggufjac.analyses.patch import patch
from ggufjac.analyses.table import load
from ggufjac.cli.main import run
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.maps.within.estimates import changes
from ggufjac.network.forward import build, run_of
from ggufjac.network.patches import HEADS, Patched, Traced, traced, with_heads
from test_patch import CLEAN, CORRUPT, FIRST, METRIC, N
from tinymodels import make

ASKED = PatchOptions(target=5, against=9, dtype="float64", heads=True)
#: One after the other, norms behind and windows, norms of heads, parallel, latent attention, some recurrences, heads
#: that are turned back, a gate behind the heads.
FAMILIES = ("llama", "gemma3", "qwen3", "command-r", "deepseek2", "jamba", "deepseek4", "afmoe")


def patched(model: Model) -> tuple[Patched, Traced, Traced]:
    base, source = (traced(model.family, ids, model.embed(ids, torch.float64), heads=True) for ids in (CORRUPT, CLEAN))
    return Patched(model.family, CORRUPT, base, source, 1 << 30), base, source


def score_of(model: Model, mixing: Callable[[int, Tensor], Tensor], rules: str | None = None) -> Tensor:
    """The metric of a run of all positions whose heads are what `mixing` makes of them; rules: attached to autograd."""
    family, how = model.family, replace(run_of(CORRUPT), mixing=mixing)
    if rules is not None:
        how = replace(how, attached=True, rules=model.linearize(CORRUPT, "float64", rules=rules).rules)
    x = model.embed(CORRUPT, torch.float64)
    for i, layer in enumerate(family.layers):
        x = build(layer, how.at(i, (N - 1,) if i == family.n_layer - 1 else None), x)[1]
    return METRIC.of(family.head.value(how, family.output_norm.value(how, x)))[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_head_is_a_run_of_its_own(family: str, small: Callable[[str], Model]) -> None:
    model = small(family)
    with torch.no_grad():
        runs, base, source = patched(model)
        there = with_heads(model.family)
        assert there == tuple(base.heads)
        positions = (3, 5, 6)
        found = runs.heads(there, positions, METRIC.of)
        for (layer, head), score in found.items():

            def mixing(at: int, y: Tensor, layer: int = layer, head: int = head) -> Tensor:
                clean, y = source.heads[layer], y.clone()
                if at == layer:
                    for t in positions:
                        if N - t <= y.shape[-3]:  # the last layer has the last position alone
                            y[t - N, head] = clean[t - N, head]
                return y

            assert score == pytest.approx(float(score_of(model, mixing)), abs=1e-10)
        alone = float(METRIC.of(base.done.logits)[0])
        assert max(abs(score - alone) for score in found.values()) > 1e-5


@pytest.mark.parametrize("family", ["llama", "gemma3", "qwen3", "deepseek2", "command-r"])
def test_all_heads_are_the_write_of_attention(family: str, small: Callable[[str], Model]) -> None:
    model = small(family)
    with torch.no_grad():
        runs, base, source = patched(model)
        positions = range(FIRST, N)
        for layer in with_heads(model.family):

            def mixing(at: int, y: Tensor, layer: int = layer) -> Tensor:
                return source.heads[layer] if at == layer else y

            write = runs.all_at_once(layer, "attn", positions, METRIC.of)
            assert float(score_of(model, mixing)) == pytest.approx(write, abs=1e-10)
            assert write != pytest.approx(float(METRIC.of(base.done.logits)[0]), abs=1e-6)


@pytest.mark.parametrize("rules", ["ordinary", "half", "lrp"])
@pytest.mark.parametrize("family", FAMILIES)
def test_estimates_are_gradients(family: str, rules: str, small: Callable[[str], Model]) -> None:
    model = small(family)
    _, base, source = patched(model)
    linear = model.linearize(CORRUPT, "float64", rules=rules)

    def difference(layer: int) -> Tensor | None:
        return source.heads[layer] - base.heads[layer] if layer in base.heads else None

    found = changes(linear, METRIC.functional(linear), model.family.leaving, lambda *_: None, difference)
    assert found.keys() == {(layer, HEADS) for layer in base.heads}
    added: dict[int, Tensor] = {}

    def mixing(layer: int, y: Tensor) -> Tensor:
        if layer not in base.heads:
            return y
        added[layer] = torch.zeros_like(y, requires_grad=True)
        return y + added[layer]

    gradients = torch.autograd.grad(score_of(model, mixing, rules), list(added.values()))
    for layer, gradient in zip(added, gradients, strict=True):
        other = difference(layer)
        assert other is not None
        torch.testing.assert_close(found[layer, HEADS], (gradient * other).sum(-1), atol=1e-9, rtol=1e-9)
    assert max(float(values.abs().max()) for values in found.values()) > 1e-5


# --- the analysis ------------------------------------------------------------------------------------------------


def test_fractions_and_correlations(small: Callable[[str], Model], tmp_path: Path) -> None:
    model = small("qwen3")
    runs, base, source = patched(model)
    with torch.no_grad():
        found = patch(model, CLEAN, CORRUPT, ASKED)
        scores = runs.heads(with_heads(model.family), range(FIRST, N), METRIC.of)
        plain = patch(model, CLEAN, CORRUPT, replace(ASKED, heads=False))
    alone, whole = (float(METRIC.of(each.done.logits)[0]) for each in (base, source))
    heads = found.heads
    assert heads is not None
    assert (plain.heads, plain.parts) == (None, found.parts)
    assert found.n_runs == plain.n_runs + len(scores)
    assert (heads.layers, heads.without) == ((0, 1), ())
    for layer, line in zip(heads.layers, heads.restored, strict=True):
        expected = [(scores[layer, h] - alone) / (whole - alone) for h in range(len(line))]
        assert line == pytest.approx(expected, abs=1e-9)
    real = torch.tensor(heads.restored, dtype=torch.float64)
    assert found.arrays["restored.heads"].tolist() == real.tolist()
    for i, estimate in enumerate(heads.estimates):
        both = torch.stack((found.arrays["estimates.heads"][i], real)).flatten(1)
        assert estimate.correlation == pytest.approx(float(torch.corrcoef(both)[0, 1]))
    found.save(tmp_path / "patch.safetensors")
    assert load(tmp_path / "patch.safetensors") == found


def test_layers_without_heads_are_told(small: Callable[[str], Model]) -> None:
    with torch.no_grad():
        found = patch(small("jamba"), CLEAN, CORRUPT, replace(ASKED, estimates=("half",)))
    assert found.heads is not None
    assert (found.heads.layers, found.heads.without) == ((1,), (0, 2))
    for width in (60, 100):
        lines = printed(found, width).splitlines()
        assert max(map(len, lines)) <= width
        assert "layers 0 and 2 without heads" in " ".join(" ".join(lines).split())


def test_without_room_the_heads_that_restore_most_are_listed(small: Callable[[str], Model]) -> None:
    with torch.no_grad():
        found = patch(small("llama"), CLEAN, CORRUPT, ASKED)
    assert found.heads is not None
    assert "by layer and head" in " ".join(printed(found, 80).split())
    many = replace(
        found.heads,
        restored=tuple(line * 10 for line in found.heads.restored),
        estimates=tuple(replace(e, restored=tuple(line * 10 for line in e.restored)) for e in found.heads.estimates),
    )
    lines = printed(replace(found, heads=many), 80).splitlines()
    assert "the 10 that restore the most" in " ".join(" ".join(lines).split())
    best = max(abs(value) for line in found.heads.restored for value in line)
    layer, head = next((i, j) for i, line in enumerate(many.restored) for j, v in enumerate(line) if abs(v) == best)
    assert any(line.split()[:1] == [f"{layer}.{head}"] for line in lines)


@pytest.mark.parametrize(
    ("family", "layers", "told"),
    [("mamba", None, "mamba has no heads that can be patched"), ("jamba", (0,), "none has heads.*; 1 have")],
)
def test_what_has_no_heads_is_refused(
    family: str, layers: tuple[int, ...] | None, told: str, small: Callable[[str], Model]
) -> None:
    with torch.no_grad(), pytest.raises(UserError, match=told):
        patch(small(family), CLEAN, CORRUPT, replace(ASKED, layers=layers))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = make("llama", tmp_path / "m.gguf"), tmp_path / "out.json"
    two = ["--clean", "the bridge", "--corrupt", "the the", "--rules", "half"]
    assert run(["patch", str(path), *two, "--heads", "--json", str(out)]) == 0, capsys.readouterr().err
    heads = json.loads(out.read_text())["heads"]
    assert heads["layers"] == [0, 1]
    assert len(heads["estimates"][0]["restored"]) == 2
