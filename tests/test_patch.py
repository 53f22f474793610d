"""Patching: real runs against loops that are written out, estimates against autograd, and the command."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ggufjac
from conftest import IDS, printed
from ggufjac.analyses.options import PatchOptions
from ggufjac.analyses.patch import Patching, PatchMetric, patch
from ggufjac.analyses.restored import correlation
from ggufjac.analyses.table import load
from ggufjac.cli.main import run
from ggufjac.errors import UserError
from ggufjac.families.parts import Named, Residual, Sequential
from ggufjac.families.parts.parallel import ParallelBlock
from ggufjac.families.parts.run import Part
from ggufjac.families.parts.tokenshift import TokenShift
from ggufjac.maps.model import Model
from ggufjac.maps.within.estimates import changes
from ggufjac.maps.within.sites import LAYER
from ggufjac.maps.within.writes import written
from ggufjac.network import patches
from ggufjac.network.forward import build, run_of
from ggufjac.network.patches import STREAM, Patch, Patched, Traced, parts_of, traced
from ggufjac.operators import built
from tinymodels import make

#: They differ at positions 3 and 5.
CLEAN = IDS[:7]
CORRUPT = [*IDS[:3], IDS[9], IDS[4], IDS[11], IDS[6]]
FIRST, N = 3, len(CLEAN)
METRIC = PatchMetric(5, 9)
#: One after the other, norms behind, parallel, experts, recurrences, latent attention, keys that are shared, lanes.
FAMILIES = ("llama", "olmo2", "gptneox", "command-r", "qwen2moe", "mamba", "rwkv6", "rwkv7", "deepseek2", "jamba")
#: Of those the ones whose layers a test takes apart by itself.
PLAIN = ("llama", "olmo2", "gemma2", "gptneox", "mamba")


def pair(model: Model) -> tuple[Traced, Traced]:
    """The runs of the corrupt and of the clean prompt."""
    base, source = (traced(model.family, ids, model.embed(ids, torch.float64)) for ids in (CORRUPT, CLEAN))
    return base, source


def patched(model: Model, budget: int = 1 << 30) -> tuple[Patched, Traced, Traced]:
    base, source = pair(model)
    return Patched(model.family, CORRUPT, base, source, budget), base, source


def everywhere(model: Model, base: Traced) -> list[Patch]:
    layers = range(model.family.n_layer)
    return [
        Patch(part, layer, t)
        for part in parts_of(base)
        for layer in layers
        for t in range(FIRST, N)
        if base.has(layer, part)
    ]


# --- real runs ---------------------------------------------------------------------------------------------------


def residuals(layer: Part) -> list[Part]:
    """The parts of a layer one after the other, without their names."""
    parts = layer.parts if isinstance(layer, Sequential) else (layer,)
    return [part.part if isinstance(part, Named) else part for part in parts]


def walked(model: Model, ids: list[int], put: dict[tuple[int, str], tuple[int, Tensor]]) -> dict[tuple[int, str], Any]:
    """Every write and state of a run of all positions, by hand; put: writes and streams that are replaced, by place."""
    family, how = model.family, run_of(ids)
    x, found = model.embed(ids, torch.float64), {}
    for i, layer in enumerate(family.layers):
        for part in residuals(layer):
            here = how.at(i)
            if isinstance(part, ParallelBlock):
                normal = part.norm.value(here, x)
                read = normal if part.mlp_norm is None else part.mlp_norm.value(here, x)
                new = {"attn": part.attention.value(here, normal), "mlp": part.mlp.value(here, read)}
            else:
                assert isinstance(part, Residual)
                assert part.scale == 1
                new = {part.name: part.branch.value(here, x)}
            for name, y in new.items():
                if (i, name) in put:
                    at, value = put[i, name]
                    y = y.clone()
                    y[at] = value
                x = x + y
                found[i, name] = y
        if (i, STREAM) in put:
            at, value = put[i, STREAM]
            x = x.clone()
            x[at] = value
        found[i, STREAM] = x
    y = family.output_norm.value(how, x[-1:])
    found[-1, "logits"] = family.head.value(how, y)
    return found


@pytest.mark.parametrize("family", PLAIN)
def test_every_cell_is_that_of_a_loop_written_out(family: str, small: Callable[[str], Model]) -> None:
    model = small(family)
    with torch.no_grad():
        runs, base, _ = patched(model)
        clean = walked(model, CLEAN, {})
        places = everywhere(model, base)
        found = runs.scores(places, METRIC.of)
        alone = float(METRIC.of(base.done.logits)[0])
        assert len({round(value, 9) for value in found.values()}) > len(found) // 2
        for place in places:
            value = clean[place.layer, place.part][place.position]
            again = walked(model, CORRUPT, {(place.layer, place.part): (place.position, value)})
            assert found.get(place, alone) == pytest.approx(float(METRIC.of(again[-1, "logits"])[0]), abs=1e-10)


def one_by_one(model: Model, source: Traced, place: Patch) -> float:
    """One patched run of the whole prompt, by itself."""
    value = source.value(place.layer, place.part)[place.position - N]

    def writing(layer: int, name: str, y: Tensor) -> Tensor:
        if (layer, name) == (place.layer, place.part):
            y = y.clone()
            y[place.position - N] = value
        return y

    family, how = model.family, run_of(CORRUPT, writing=writing)
    x = model.embed(CORRUPT, torch.float64)
    for i, layer in enumerate(family.layers):
        x = build(layer, how.at(i, (N - 1,) if i == family.n_layer - 1 else None), x)[1]
        if (i, STREAM) == (place.layer, place.part):
            x = x.clone()
            x[place.position - N] = value
    return float(METRIC.of(family.head.value(how, family.output_norm.value(how, x)))[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_batches_are_single_runs(family: str, small: Callable[[str], Model]) -> None:
    model = small(family)
    with torch.no_grad():
        runs, base, source = patched(model)
        found = runs.scores(everywhere(model, base), METRIC.of)
        assert {place.part for place in found} == set(parts_of(base))
        for place, score in list(found.items())[::2]:
            assert score == pytest.approx(one_by_one(model, source, place), abs=1e-10)


@pytest.mark.parametrize("family", [*FAMILIES, "gemma2", "kimi-k3"])
def test_the_whole_stream_is_the_clean_run(family: str, small: Callable[[str], Model]) -> None:
    model = small(family)
    runs, base, source = patched(model)
    clean, corrupt = (float(METRIC.of(run.done.logits)[0]) for run in (source, base))
    assert abs(clean - corrupt) > 1e-3
    last = model.family.n_layer - 1
    for layer in range(last + 1):
        score = runs.all_at_once(layer, STREAM, range(N), METRIC.of)
        assert score == pytest.approx(clean, abs=1e-10)
    (restored,) = runs.scores([Patch(STREAM, last, N - 1)], METRIC.of).values()
    assert restored == pytest.approx(clean, abs=1e-10)


def test_nothing_depends_on_the_memory(small: Callable[[str], Model], monkeypatch: pytest.MonkeyPatch) -> None:
    model = small("olmo2")
    runs, base, _ = patched(model)
    places = everywhere(model, base)
    found = runs.scores(places, METRIC.of)
    with pytest.raises(UserError, match="does not hold one patched run") as caught:
        patched(model, 1)[0].scores(places, METRIC.of)
    smallest = int(str(caught.value).split()[-2])
    for budget in (smallest << 20, 4 * smallest << 20):
        small, *_ = patched(model, budget)
        again = small.scores(places[::-1], METRIC.of)
        assert again == pytest.approx(found, abs=1e-10)
    sizes: list[int] = []
    whole = Patched._run

    def counted(self: Patched, chunk: list[Patch], *more: Any) -> Tensor:
        sizes.append(len(chunk))
        return whole(self, chunk, *more)

    monkeypatch.setattr(Patched, "_run", counted)
    monkeypatch.setattr(patches, "ROWS", 1)
    one, *_ = patched(model)
    assert one.scores(places, METRIC.of) == pytest.approx(found, abs=1e-10)
    assert len(sizes) == N - FIRST  # positions of one start go together whatever else is said
    sizes.clear()
    small, *_ = patched(model, smallest << 20)
    small.scores(places, METRIC.of)
    assert len(sizes) > N - FIRST


@pytest.mark.parametrize("family", [*FAMILIES, "gemma3"])
def test_blocks_announce_what_the_operators_say_they_write(family: str, small: Callable[[str], Model]) -> None:
    model = small(family)
    base, _ = pair(model)
    for layer, op in enumerate(base.done.layers):
        assert [name for i, name in base.writes if i == layer] == list(written(built(op)))


# --- estimates ---------------------------------------------------------------------------------------------------


def differences(base: Traced, source: Traced) -> Callable[[int, str], Tensor | None]:
    def difference(layer: int, site: str) -> Tensor | None:
        part = STREAM if site == LAYER else site
        return source.value(layer, part) - base.value(layer, part)

    return difference


@pytest.mark.parametrize("family", ["llama", "gemma2", "gptneox", "qwen2moe", "mamba", "deepseek2"])
@pytest.mark.parametrize("against", [None, 9])
def test_ordinary_estimates_are_gradients(family: str, against: int | None, small: Callable[[str], Model]) -> None:
    model, metric = small(family), PatchMetric(5, against)
    base, source = pair(model)
    linear = model.linearize(CORRUPT, "float64", rules="ordinary")
    found = changes(linear, metric.functional(linear), model.family.leaving, differences(base, source))
    added: dict[tuple[int, str], Tensor] = {}

    def writing(layer: int, name: str, y: Tensor) -> Tensor:
        added[layer, name] = torch.zeros_like(y, requires_grad=True)
        return y + added[layer, name]

    family_, how = model.family, run_of(CORRUPT, attached=True, rules=linear.rules, writing=writing)
    x = model.embed(CORRUPT, torch.float64)
    for i, layer in enumerate(family_.layers):
        x = build(layer, how.at(i, (N - 1,) if i == family_.n_layer - 1 else None), x)[1]
        added[i, LAYER] = torch.zeros_like(x, requires_grad=True)
        x = x + added[i, LAYER]
    metric_value = metric.of(family_.head.value(how, family_.output_norm.value(how, x)))[0]
    gradients = dict(zip(added, torch.autograd.grad(metric_value, list(added.values())), strict=True))
    assert gradients.keys() == found.keys()
    difference = differences(base, source)
    for place, gradient in gradients.items():
        other = difference(*place)
        assert other is not None
        torch.testing.assert_close(found[place], (gradient * other).sum(-1), atol=1e-9, rtol=1e-9)
    assert max(float(values.abs().max()) for values in found.values()) > 1e-3


@pytest.mark.parametrize("rules", ["ordinary", "detached", "lrp"])
def test_of_a_linear_network_estimates_are_real(rules: str, tmp_path: Path) -> None:
    with Model.open(make("llama", tmp_path / "m.gguf")) as model, torch.no_grad():
        family = model.family
        shift = TokenShift(torch.rand(family.d, generator=torch.Generator().manual_seed(1)))
        blocks = []
        for layer in family.layers:
            mlp = residuals(layer)[1].branch.parts[1]  # type: ignore[attr-defined]
            blocks.append(Sequential(Residual("attn", shift), Residual("mlp", mlp.up, mlp.down)))
        family.layers, family.output_norm = list(blocks), Sequential()
        runs, base, source = patched(model)
        linear = model.linearize(CORRUPT, "float64", rules=rules)
        found = changes(linear, METRIC.functional(linear), family.leaving, differences(base, source))
        alone = float(METRIC.of(base.done.logits)[0])
        real = runs.scores(everywhere(model, base), METRIC.of)
        for place, score in real.items():
            estimate = found[place.layer, LAYER if place.part == STREAM else place.part][place.position - N]
            assert score - alone == pytest.approx(float(estimate), abs=1e-10)
        assert max(abs(score - alone) for score in real.values()) > 1e-3


def test_correlation_is_pearsons() -> None:
    x, y = torch.randn(2, 40, generator=torch.Generator().manual_seed(0))
    assert correlation(x, x + y) == pytest.approx(float(torch.corrcoef(torch.stack((x, x + y)))[0, 1]), abs=1e-6)
    assert correlation(x, -2 * x + 1) == pytest.approx(-1)
    assert correlation(x, torch.ones(40)) is None
    assert correlation(x[:2], y[:2]) is None


# --- the analysis ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result(small: Callable[[str], Model]) -> Patching:
    with torch.no_grad():
        return patch(small("olmo2"), CLEAN, CORRUPT, PatchOptions(target=5, against=9, dtype="float64"))


def test_fractions_are_of_the_difference(result: Patching, small: Callable[[str], Model]) -> None:
    model = small("olmo2")
    runs, base, source = patched(model)
    alone, whole = (float(METRIC.of(run.done.logits)[0]) for run in (base, source))
    assert (result.clean_metric, result.corrupt_metric) == pytest.approx((whole, alone))
    assert [part.part for part in result.parts] == ["stream", "attn", "mlp"]
    assert (result.first, result.positions) == (FIRST, tuple(range(FIRST, N)))
    found = runs.scores(everywhere(model, base), METRIC.of)
    assert result.n_runs == len(found)
    for part in result.parts:
        for layer, line in zip(part.layers, part.restored, strict=True):
            for t, value in zip(result.positions, line, strict=True):
                real = (found.get(Patch(part.part, layer, t), alone) - alone) / (whole - alone)
                assert value == pytest.approx(real, abs=1e-9)
    assert result.parts[0].restored[-1] == pytest.approx([0, 0, 0, 1])


def test_correlations_are_over_all_cells(result: Patching) -> None:
    for part in result.parts:
        assert [e.rules for e in part.estimates] == ["ordinary", "half", "rlens"]
        for estimate, saved in zip(part.estimates, result.arrays[f"estimates.{part.part}"], strict=True):
            both = torch.tensor([estimate.restored, part.restored], dtype=torch.float64).flatten(1)
            assert estimate.correlation == pytest.approx(float(torch.corrcoef(both)[0, 1]))
            assert saved.tolist() == [list(line) for line in estimate.restored]


def test_the_default_follows_both_predictions(small: Callable[[str], Model]) -> None:
    model = small("llama")
    with torch.no_grad():
        found = patch(model, CLEAN, CORRUPT, PatchOptions(dtype="float64"))
        first, other = (int(model.run(ids, torch.float64).logits[-1].argmax()) for ids in (CLEAN, CORRUPT))
        assert found.target.token.id == first
        assert (None if found.against is None else found.against.token.id) == (None if other == first else other)
        alone = patch(model, CLEAN, CORRUPT, PatchOptions(dtype="float64", target=other))
        assert (alone.target.token.id, alone.against) == (other, None)
        surprise = float(model.run(CLEAN, torch.float64).logits[-1].log_softmax(-1)[other])
        assert alone.clean_metric == pytest.approx(surprise)


def test_what_is_named_is_patched(small: Callable[[str], Model]) -> None:
    options = PatchOptions(
        target=5, against=9, parts=("mlp",), layers=(2, 0), positions=(5,), rules="lrp-qk", dtype="float64"
    )
    with torch.no_grad():
        found = patch(small("olmo2"), CLEAN, CORRUPT, options)
        whole = patch(small("olmo2"), CLEAN, CORRUPT, PatchOptions(target=5, against=9, dtype="float64"))
    (part,) = found.parts
    assert (part.part, part.layers, found.positions) == ("mlp", (0, 2), (5,))
    assert [e.rules for e in part.estimates] == ["lrp-qk"]
    assert [line[0] for line in part.restored] == pytest.approx([whole.parts[2].restored[i][2] for i in (0, 2)])
    every = PatchOptions(target=5, against=9, every=3, parts="stream", dtype="float64")  # type: ignore[arg-type]
    with torch.no_grad():
        assert patch(small("olmo2"), CLEAN, CORRUPT, every).parts[0].layers == (0, 3)


def test_what_recurrences_and_lanes_restore(small: Callable[[str], Model]) -> None:
    """Families that run texts as a whole, or have other parts, say what theirs are called."""
    with torch.no_grad():
        found = patch(small("mamba"), CLEAN, CORRUPT, PatchOptions(target=5, against=9, dtype="float64"))
    assert [part.part for part in found.parts] == ["stream", "ssm"]
    assert found.parts[0].restored[-1][-1] == pytest.approx(1)


def test_saved_and_shown(result: Patching, tmp_path: Path) -> None:
    result.save(tmp_path / "patch.safetensors")
    assert load(tmp_path / "patch.safetensors") == result
    for width in (60, 80, 200):
        lines = printed(result, width).splitlines()
        assert max(map(len, lines)) <= width
        text = " ".join(lines)
        assert "Estimates" in text


def test_from_python(small: Callable[[str], Model]) -> None:
    found = ggufjac.patch(small("llama"), CLEAN, CORRUPT, target=5, against=9, estimates=("half",))
    assert [e.rules for e in found.parts[0].estimates] == ["half"]
    with pytest.raises(UserError, match="did you mean 'against'"):
        ggufjac.patch(small("llama"), CLEAN, CORRUPT, agianst=5)


@pytest.mark.parametrize(
    ("clean", "corrupt", "options", "told"),
    [
        (IDS[:4], IDS[:5], {}, r"has 4 tokens and the corrupt one 5.* at position 4, where the shorter one ends"),
        (IDS[:4], [1, 17, 300, 42, 5], {}, "has 4 tokens and the corrupt one 5.*begin to differ at position 1"),
        (IDS[:4], IDS[:4], {}, "the same 4 tokens"),
        (CLEAN, CORRUPT, {"target": 5, "against": 5}, "are the same token"),
        (CLEAN, CORRUPT, {"target": 1 << 20}, "there is no token 1048576"),
        (CLEAN, CORRUPT, {"parts": ("ssm",)}, "no part.*'ssm'|part 'ssm'; there are stream, attn, mlp"),
        (CLEAN, CORRUPT, {"positions": (2,)}, "differ from position 3 on"),
        (CLEAN, CORRUPT, {"positions": (7,)}, "no token at position 7"),
        (CLEAN, CORRUPT, {"layers": (99,)}, "there is no layer 99"),
        (CLEAN, CORRUPT, {"memory": 1}, "memory budget"),
    ],
)
def test_mistakes_are_told(
    clean: list[int], corrupt: list[int], options: dict[str, Any], told: str, small: Callable[[str], Model]
) -> None:
    with pytest.raises(UserError, match=told) as caught:
        patch(small("llama"), clean, corrupt, PatchOptions(**options))
    assert "\n" not in str(caught.value)


def test_no_difference_is_told(small: Callable[[str], Model], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ggufjac.analyses.patch.DIFFER", math.inf)
    with pytest.raises(UserError, match="there is no difference to restore"):
        patch(small("llama"), CLEAN, CORRUPT, PatchOptions(target=5, against=9))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("llama", tmp_path_factory.mktemp("command") / "m.gguf")


def test_the_command(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    two = ["--clean", "the bridge", "--corrupt", "the the"]
    status = run(["patch", str(path), *two, "--rules", "ordinary", "half", "--parts", "attn", "--json", str(out)])
    told = capsys.readouterr()
    assert status == 0, told.err
    plain = json.loads(out.read_text())
    assert plain["schema"] == "ggufjac.patch/2"
    assert [e["rules"] for e in plain["parts"][0]["estimates"]] == ["ordinary", "half"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--corrupt", "the"], "--clean is missing"),
        (["--clean", "the"], "--corrupt is missing"),
        (["--clean", "the", "--corrupt", ""], "the prompt is empty"),
        (["--clean", "the", "--corrupt", "the bridge of"], "patching needs two of equal length"),
        (["--clean", "the", "--corrupt", "the"], "the same"),
        (["--clean", "the", "--corrupt", "of", "--rules", "reverse"], "there is no 'reverse'"),
        (["--clean", "the", "--corrupt", "of", "--target", "no such token"], "--target"),
        (["--clean", "the", "--corrupt", "of", "--run", "llama.cpp"], "--run"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], told: str, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["patch", str(path), *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert told in lines[-1]
