"""Steering by two sets of texts: the directions, how they are judged, what is done with them, and the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import IDS
from ggufjac.analyses.options import SteerPairsOptions
from ggufjac.analyses.steer.contrast import Contrast, contrast_of, folds, separations
from ggufjac.analyses.steer.effects import Effect, Effects, best_at_price
from ggufjac.analyses.steer.pairs import SteeredPairs, steer_pairs
from ggufjac.analyses.steer.pushes import Ablated, Pushed
from ggufjac.analyses.table import load
from ggufjac.cli.main import run
from ggufjac.errors import UserError
from ggufjac.llamacpp.control import ControlFile
from ggufjac.llamacpp.run import Runner
from ggufjac.maps.model import Model
from ggufjac.maps.options import MapOptions
from ggufjac.network.forward import propagate, run_of
from ggufjac.network.texts import logits_of_texts
from tinymodels import make

A, B = (IDS[:4], IDS[2:7], IDS[1:5]), (IDS[5:9], IDS[6:10], IDS[7:9])
DOUBLE = MapOptions(dtype="float64")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Model]]:
    """Without biases, and with."""
    paths = {family: make(family, tmp_path_factory.mktemp(family) / "m.gguf") for family in ("llama", "qwen2")}
    opened = {family: Model.open(path) for family, path in paths.items()}
    yield opened
    for model in opened.values():
        model.close()


# --- directions --------------------------------------------------------------------------------------------------


def test_states_are_the_streams(models: dict[str, Model]) -> None:
    model = models["llama"]
    means, last = (contrast_of(model, A, B, at, DOUBLE, written=False) for at in ("mean", "last"))
    for i, ids in enumerate(A):
        streams = model.run(ids, torch.float64).states[1:]
        for layer, stream in enumerate(streams):
            torch.testing.assert_close(means.a[i, layer], stream[1:].mean(0))
            torch.testing.assert_close(last.a[i, layer], stream[-1])


@pytest.mark.parametrize("rules", ["detached", "ordinary"])
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_what_the_maps_write(models: dict[str, Model], family: str, rules: str) -> None:
    """With exact rules it is the stream itself, without what the biases write; otherwise it is not."""
    model, options = models[family], MapOptions(dtype="float64", rules=rules)
    found = contrast_of(model, A, B, "last", options, written=True)
    assert found.written_a is not None
    constants = torch.stack(
        [
            torch.stack([found.a[i, layer] - found.written_a[i, layer] for layer in range(model.family.n_layer)])
            for i in range(len(A))
        ]
    )
    none = bool((constants.norm(dim=-1) < 1e-10 * found.a.norm(dim=-1)).all())
    assert none == (family == "llama" and rules == "detached")
    if rules == "detached":
        last = model.linearize(A[0], dtype="float64")
        y = last.forward_pass.final.apply(found.written_a[0, -1][None])[0]
        torch.testing.assert_close(y + last.constant, last.output)


def made(n: int = 12, apart: float = 3.0) -> Contrast:
    """Two sets that differ along one axis by so many standard deviations at layer 1, and not at layer 0."""
    x = torch.randn(2, n, 2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[0, :, 1, 2] += apart
    return Contrast(x[0], x[1])


def test_mean_and_pca() -> None:
    found = made()
    apart = found.a.mean(0) - found.b.mean(0)
    mean, pca = found.directions("mean"), found.directions("pca")
    torch.testing.assert_close(mean, apart / apart.norm(dim=-1, keepdim=True))
    for layer in range(2):
        differences = (found.a - found.b)[:, layer]
        gram = differences.mT @ differences
        assert float(pca[layer] @ gram @ pca[layer]) == pytest.approx(float(torch.linalg.eigvalsh(gram)[-1]))
        assert float(pca[layer] @ apart[layer]) > 0
    torch.testing.assert_close(found.distances(mean), apart.norm(dim=-1))


def test_sets_without_pairs_have_no_singular_vector() -> None:
    found = made()
    assert Contrast(found.a, found.b[:7]).kinds == ("mean",)
    assert found.kinds == ("mean", "pca")


@pytest.mark.parametrize(("n_a", "n_b"), [(2, 2), (5, 5), (13, 13), (3, 11)])
def test_every_text_is_held_out_once(n_a: int, n_b: int) -> None:
    found = folds(n_a, n_b, 3)
    assert sorted(i for part in found for i in part.a) == list(range(n_a))
    assert sorted(i for part in found for i in part.b) == list(range(n_b))
    if n_a == n_b:
        assert all(part.a == part.b for part in found)
    assert all(part.kept_a and part.kept_b for part in found)


def test_separation_is_that_of_texts_held_out() -> None:
    contrast = made(200)
    found = {(one.layer, one.kind): one for one in separations(contrast, folds(200, 200, 0))}
    assert found[1, "mean"].effect == pytest.approx(3.0, abs=0.3)
    assert found[1, "mean"].right > 0.97
    assert abs(found[0, "mean"].effect) < 0.4  # seen on the texts themselves it would not be
    assert found[0, "mean"].right == pytest.approx(0.5, abs=0.1)


# --- what is done with them --------------------------------------------------------------------------------------


def test_pushes_are_added_behind_their_layers(models: dict[str, Model]) -> None:
    model = models["llama"]
    vectors = torch.randn(2, model.family.d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    pushed = Pushed(model.family, [0, 1], vectors)
    x = model.embed(IDS[:5], torch.float64).expand(2, -1, -1)
    with torch.no_grad():
        run = run_of(IDS[:5])
        plain = propagate(model.family, run, x[0], last_only=False)
        found = propagate(model.family, run, x, last_only=False, edit=pushed.edit)
    torch.testing.assert_close(found.states[1][0], plain.states[1] + vectors[0])
    torch.testing.assert_close(found.states[1][1], plain.states[1])
    torch.testing.assert_close(found.states[2][1], plain.states[2] + vectors[1])


def test_nothing_is_left_along_an_ablated_direction(models: dict[str, Model]) -> None:
    model = models["llama"]
    u = torch.nn.functional.normalize(torch.randn(model.family.d, dtype=torch.float64), dim=0)
    ablated = Ablated(model.family, {1: u})
    x = model.embed(IDS[:5], torch.float64)
    with torch.no_grad():
        plain = propagate(model.family, run_of(IDS[:5]), x, last_only=False)
        found = propagate(model.family, run_of(IDS[:5]), x, last_only=False, edit=ablated.edit)
    torch.testing.assert_close(found.states[1], plain.states[1])
    was = plain.states[2]
    torch.testing.assert_close(found.states[2], was - (was @ u)[:, None] * u)


# --- gains and prices --------------------------------------------------------------------------------------------


def test_effects_are_measured_by_plain_passes(models: dict[str, Model]) -> None:
    model = models["llama"]
    v = torch.randn(3, model.family.d, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    v[0] = 0
    effects = Effects(model.family, A, (), (), (IDS[:6],), torch.float64, n_ctx=32)
    found = effects.of(lambda which: Pushed(model.family, [1] * len(v[which]), v[which]), 3)
    assert (found[0].gain, found[0].price) == (pytest.approx(0.0), pytest.approx(0.0))
    for i, one in enumerate(found):

        def ln_p(ids: torch.Tensor, i: int = i) -> tuple[torch.Tensor, torch.Tensor]:
            pushed = Pushed(model.family, [1], v[i : i + 1])
            read = (
                logits_of_texts(model.family, ids[None], torch.float64, influence=how)
                for how in (None, lambda _: pushed)
            )
            plain, steered = (next(each)[0].log_softmax(-1) for each in read)
            return plain, steered

        plain, steered = ln_p(torch.tensor(IDS[:6]))
        assert one.price == pytest.approx(float((plain.exp() * (plain - steered)).sum(-1).mean()), abs=1e-9)
        gains = []
        for ids in A:
            at = torch.arange(len(ids) - 1), torch.tensor(ids[1:])
            before, after = (x[at].mean() for x in ln_p(torch.tensor(ids)))
            gains.append(float(after - before))
        assert one.gain == pytest.approx(np.mean(gains), abs=1e-9)


def test_the_best_strength_is_within_the_price() -> None:
    effects = [Effect(1.0, 0.2), Effect(3.0, 0.8), Effect(9.0, 5.0)]
    strength, effect = best_at_price((1.0, 2.0, 3.0), effects, 0.5)
    assert (strength, effect.gain, effect.price) == (pytest.approx(1.5), pytest.approx(2.0), 0.5)
    strength, effect = best_at_price((2.0, 1.0), [Effect(0.1, 0.3), Effect(0.4, 0.1)], 0.5)
    assert (strength, effect) == (1.0, Effect(0.4, 0.1))
    strength, effect = best_at_price((-2.0, 1.0, -1.0), [Effect(4.0, 0.9), Effect(-1.0, 0.1), Effect(2.0, 0.1)], 0.5)
    assert (strength, effect.gain, effect.price) == (pytest.approx(-1.5), pytest.approx(3.0), 0.5)


# --- the analysis ------------------------------------------------------------------------------------------------

OPTIONS = SteerPairsOptions(strengths=(1.0, 2.0), tokens=4, neutral=("the bridge over the water",), dtype="float64")


@pytest.fixture(scope="module")
def result(models: dict[str, Model]) -> SteeredPairs:
    with torch.no_grad():
        return steer_pairs(models["llama"], A, B, IDS[:5], OPTIONS)


def test_the_layer_gains_the_most(result: SteeredPairs, models: dict[str, Model]) -> None:
    assert result.chosen
    best = max(result.candidates, key=lambda one: one.gain)
    assert (result.layer, result.direction) == (best.layer, best.kind)
    assert {one.layer for one in result.candidates} == set(range(models["llama"].family.n_layer))
    assert {(one.layer, one.kind) for one in result.separations} == {
        (layer, kind) for layer in range(result.n_layer) for kind in ("mean", "pca", "map")
    }


def test_a_layer_and_a_direction_that_are_given_are_used(models: dict[str, Model]) -> None:
    with torch.no_grad():
        found = steer_pairs(models["llama"], A, B, IDS[:5], replace(OPTIONS, layer=1, direction="mean"))
    assert (found.layer, found.direction, found.chosen, found.candidates) == (1, "mean", False, ())
    a, b = found.arrays["positive"][:, 1], found.arrays["negative"][:, 1]
    apart = a.mean(0) - b.mean(0)
    torch.testing.assert_close(found.arrays["direction"], apart / apart.norm())
    assert found.distance == pytest.approx(float(apart.norm()))


def test_what_is_exported_does_what_was_measured(models: dict[str, Model], tmp_path: Path) -> None:
    file = tmp_path / "v.gguf"
    with torch.no_grad():
        found = steer_pairs(models["llama"], A, B, IDS[:5], replace(OPTIONS, layer=1, export=str(file)))
    assert found.best is not None
    vectors = ControlFile.read(file).directions
    expected = found.best * found.distance * found.arrays["direction"]
    assert list(vectors) == [1]
    np.testing.assert_allclose(vectors[1], expected, rtol=1e-5)
    path = models["llama"].file.path
    with Runner(path, 64, kv="f32", threads=1) as runner, torch.no_grad():
        before = runner.logits(IDS, all_positions=True)
        runner.steer(dict(vectors))
        theirs = runner.logits(IDS, all_positions=True)
        pushed = Pushed(models["llama"].family, [1], expected[None])
        (ours,) = logits_of_texts(
            models["llama"].family, torch.tensor([IDS]), torch.float32, influence=lambda _: pushed
        )
    assert np.abs(theirs - before).max() > 0.1 * before.std()
    assert np.abs(ours[0].numpy() - theirs).max() < 1e-4 * before.std()


def test_ablation(models: dict[str, Model]) -> None:
    with torch.no_grad():
        found = steer_pairs(models["llama"], A, B, IDS[:5], replace(OPTIONS, ablate=True))
        some = steer_pairs(models["llama"], A, B, IDS[:5], replace(OPTIONS, ablate=True, ablate_layers=(1,), layer=1))
    assert found.ablated == tuple(range(found.n_layer))
    assert found.best is None
    assert len(found.steered) == 1
    assert found.steered[0].strength == 0
    cheap = [one for one in found.candidates if one.price <= found.price] or [
        min(found.candidates, key=lambda one: one.price)
    ]
    assert found.layer == min(cheap, key=lambda one: one.gain).layer
    assert some.ablated == (1,)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"positive": A[:1]}, "the positive set has 1 texts"),
        ({"negative": ()}, "the negative set has 0 texts"),
        ({"negative": B[:2], "direction": "pca"}, "needs pairs; there are 3 positive and 2 negative"),
        ({"negative": A}, "no direction between them"),
        ({"layer": 99}, "there is no layer 99"),
        ({"ablate_layers": (1,)}, "go with ablating"),
        ({"ablate": True, "ablate_layers": (99,)}, "there is no layer 99"),
        ({"ablate": True, "export": "x.gguf"}, "cannot be exported"),
        ({"layer": 0, "export": "x.gguf"}, "no control vector to layer 0"),
        ({"tokens": 0}, "are no text"),
        ({"strengths": (0.0,)}, "finite and not 0"),
    ],
)
def test_mistakes(how: dict[str, object], told: str, models: dict[str, Model]) -> None:
    sets = [how.pop(name, usual) for name, usual in (("positive", A), ("negative", B))]
    with torch.no_grad(), pytest.raises(UserError, match=told):
        steer_pairs(models["llama"], *sets, IDS[:5], replace(OPTIONS, **how))  # type: ignore[arg-type]


# --- the command -------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Lines, and a chat a line."""
    lines, chats = tmp_path / "a.txt", tmp_path / "b.jsonl"
    lines.write_text("the bridge\nover the water\nthe old town\n", encoding="utf-8")
    chats.write_text(
        "".join(json.dumps({"messages": [{"role": "user", "content": text}]}) + "\n" for text in ("ab", "cde", "f")),
        encoding="utf-8",
    )
    return ["--positive", str(lines), "--negative", str(chats)]


def test_the_command_and_its_round_trip(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make("llama", tmp_path / "m.gguf")
    plain = [files[0], files[1], files[2], files[1].replace("a.txt", "c.txt")]
    Path(plain[3]).write_text("zz\nyy\nxx\n", encoding="utf-8")
    saved = tmp_path / "r.safetensors"
    arguments = ["steer", str(path), *plain, "--prompt", "the", "--tokens", "3", "--save", str(saved)]
    assert run(arguments) == 0
    said = capsys.readouterr().out
    assert "3 texts: the bridge, …" in said
    assert "gain: of the positive texts" in said
    again = load(saved)
    assert isinstance(again, SteeredPairs)
    assert again.positive == ("the bridge", "over the water", "the old town")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--positive", "a.txt"], "--positive needs the other set beside it"),
        (["--positive", "a.txt", "--negative", "a.txt", "--concept", "x"], "not both"),
        (["--positive", "nowhere.txt", "--negative", "nowhere.txt"], "cannot be read"),
        (["--positive", "a.txt", "--negative", "a.txt", "--direction", "left"], "--direction goes with --concept"),
        (["--concept", "x", "--ablate"], "--ablate goes with --positive and --negative"),
        ([], "--positive FILE --negative FILE"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], told: str, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make("llama", tmp_path / "m.gguf")
    arguments = [str(tmp_path / name) if name == "a.txt" else name for name in arguments]
    assert run(["steer", str(path), *arguments, "--prompt", "the"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert told in lines[-1]
