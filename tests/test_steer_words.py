"""Steering towards words: the direction, the strength at a price, several prompts at once, and the command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import IDS, printed
from ggufjac.analyses.options import SteerOptions, SteerPairsOptions, SteerWordsOptions
from ggufjac.analyses.steer.effects import Effect, Effects
from ggufjac.analyses.steer.pairs import steer_pairs
from ggufjac.analyses.steer.saying import EVERYDAY, own_words, saying, usual_layer
from ggufjac.analyses.steer.search import WITHIN, strengths_at
from ggufjac.analyses.steer.steering import steer
from ggufjac.analyses.steer.trials import along
from ggufjac.analyses.steer.words import SteeredWords, steer_words
from ggufjac.analyses.steer.writing import PushedText
from ggufjac.analyses.table import load
from ggufjac.cli.main import run
from ggufjac.errors import UserError
from ggufjac.llamacpp.control import ControlFile
from ggufjac.maps.lens.unembed import Unembedding
from ggufjac.maps.model import Model
from ggufjac.maps.options import MapOptions
from ggufjac.network.texts import logits_of_texts
from tinymodels import make

OPTIONS = SteerWordsOptions(say=(300,), tokens=4, neutral=("the bridge over the water",), dtype="float64")
DOUBLE = MapOptions(dtype="float64", rules="rlens")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with Model.open(make("llama", tmp_path_factory.mktemp("words") / "m.gguf")) as opened:
        yield opened


# --- the direction -----------------------------------------------------------------------------------------------


def test_words_are_pulled_back_by_the_transposed_jacobians(model: Model) -> None:
    streams = model.linearize_streams(IDS, DOUBLE, 2)
    layers = list(range(model.family.n_layer))
    rows = Unembedding(model.family, torch.float64).rows((7, 300))
    jacobians = streams.jacobians(layers)
    for layer, found in streams.pulled(rows, layers).items():
        torch.testing.assert_close(found, rows @ jacobians[layer])


def test_several_words_are_the_mean_of_their_directions(model: Model) -> None:
    both, *each = (saying(model, tokens, (1,), DOUBLE)[1] for tokens in ((7, 300), (7,), (300,)))
    torch.testing.assert_close(both, torch.nn.functional.normalize(each[0] + each[1], dim=0))
    assert float(each[0].norm()) == pytest.approx(1)


def test_the_direction_raises_the_word_on_the_text_it_was_made_of(model: Model) -> None:
    """By ordinary rules it is a gradient: a small push raises the word's logit above the mean of all."""
    options = MapOptions(dtype="float64", rules="ordinary")
    v = saying(model, (300,), (1,), options)[1]
    ids = torch.tensor([model.tokenize(EVERYDAY)])
    raised = []
    for strength in (-1e-4, 1e-4):
        pushes = along(model, 1, v, (strength,))
        (logits,) = logits_of_texts(model.family, ids, torch.float64, influence=pushes)
        raised.append(float((logits[0, :, 300] - logits[0].mean(-1)).mean()))
    assert raised[1] > raised[0]


def test_a_prompts_own_words_are_rare_and_words(model: Model) -> None:
    usual = torch.zeros(model.family.n_vocab)
    ids = model.tokenize("the bridge")
    found = own_words([*ids, *ids], usual, model.vocab)
    assert found
    assert set(found) <= set(ids)
    assert len(set(found)) == len(found)
    usual[found[0]] = 0.01
    assert own_words(ids, usual, model.vocab) == found[1:]


@pytest.mark.parametrize(("n_layer", "layer"), [(1, 0), (2, 1), (24, 16), (28, 19), (30, 20)])
def test_the_usual_layer(n_layer: int, layer: int) -> None:
    assert usual_layer(n_layer) == layer


# --- the strength ------------------------------------------------------------------------------------------------


def test_strengths_meet_their_prices() -> None:
    """Of pushes that cost a power of their strength, bounded above in one case."""
    powers, asked = (1.0, 2.0, 4.0), (0.5, 0.1, 2.0)
    measured: list[int] = []

    def measure(which: Sequence[int], strengths: Sequence[float]) -> list[Effect]:
        measured.extend(which)
        return [Effect(s, 3 * s ** powers[i]) for i, s in zip(which, strengths, strict=True)]

    found = strengths_at(asked, (0.4, 0.4, 0.4), measure)
    for (strength, effect), price, power in zip(found, asked, powers, strict=True):
        assert effect.price == pytest.approx(price, rel=1.1 * WITHIN)
        assert effect.price == 3 * strength**power
    # what met its price is not measured again
    assert measured.count(0) + measured.count(1) + measured.count(2) < 12
    never = strengths_at((5.0,), (0.4,), lambda _, strengths: [Effect(0, min(1.0, s)) for s in strengths], rounds=3)
    assert never[0][1].price == 1.0


def test_the_searched_strength_costs_the_price(model: Model) -> None:
    with torch.no_grad():
        found = steer_words(model, None, IDS[:5], OPTIONS)
    assert found.best is not None
    costs = [one.price for one in found.steered]
    assert costs == pytest.approx([0.25, 0.5, 1.0], rel=1.1 * WITHIN)
    assert found.best == found.steered[1].strength
    assert found.layer == usual_layer(model.family.n_layer)
    assert found.rules == str(DOUBLE.linearisation)
    # measured anew, by plain passes
    v = found.arrays["direction"] * found.length * found.best
    ids = torch.tensor([model.tokenize("the bridge over the water")])
    (alone,) = logits_of_texts(model.family, ids, torch.float64)
    (pushed,) = logits_of_texts(model.family, ids, torch.float64, influence=along(model, found.layer, v, (1.0,)))
    p, q = alone[0].log_softmax(-1), pushed[0].log_softmax(-1)
    assert found.steered[1].price == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()), rel=1e-9)


def test_gains_are_of_what_is_written(model: Model) -> None:
    """Greedily, with the push from the first token on."""
    counted, v = (5, 42), torch.randn(model.family.leaving, generator=torch.Generator().manual_seed(0)).double()
    pushes = along(model, 1, v, (3.0,))
    effects = Effects(model.family, (), IDS[:5], counted, [IDS[:4]], torch.float64, n_ctx=9)
    (found,) = effects.of(pushes, 1)
    means = []
    for influence in (None, pushes):
        text, said = list(IDS[:5]), []
        for _ in range(4):
            (logits,) = logits_of_texts(model.family, torch.tensor([text]), torch.float64, influence=influence)
            said.append(float(logits[0, -1].log_softmax(-1)[list(counted)].logsumexp(-1)))
            text.append(int(logits[0, -1].argmax()))
        means.append(sum(said) / 4)
    assert found.gain == pytest.approx(means[1] - means[0], abs=1e-9)


# --- several prompts ---------------------------------------------------------------------------------------------

MORE = (IDS[3:10], IDS[:2])


@pytest.mark.parametrize("way", ["words", "operator", "pairs"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_prompts_side_by_side_are_each_alone(way: str, temperature: float, model: Model) -> None:
    how = {"tokens": 5, "dtype": "float64", "strengths": (0.5, 2.0), "layer": 1, "temperature": temperature, "seed": 3}
    made = {
        "words": lambda prompt, **more: steer_words(model, None, prompt, SteerWordsOptions(say=(300,), **how, **more)),
        "operator": lambda prompt, **more: steer(model, IDS[5:8], prompt, SteerOptions(counted=(5,), **how, **more)),
        "pairs": lambda prompt, **more: steer_pairs(
            model, (IDS[:4], IDS[2:7]), (IDS[5:9], IDS[7:9]), prompt, SteerPairsOptions(**how, **more)
        ),
    }[way]
    with torch.no_grad():
        together = made(IDS[:5], more=MORE)
        alone = [made(prompt) for prompt in (IDS[:5], *MORE)]
    assert len(together.others) == len(MORE)
    found = [together, *together.others]
    for one, expected in zip(found, alone, strict=True):
        for a, b in zip((one.unsteered, *one.steered), (expected.unsteered, *expected.steered), strict=True):
            a, b = (text.text if isinstance(text, PushedText) else text for text in (a, b))
            assert [piece.id for piece in a.tokens] == [piece.id for piece in b.tokens]
            assert a.likelihood == pytest.approx(b.likelihood, rel=1e-9)
            assert a.own == pytest.approx(b.own, rel=1e-9)


# --- the file, the report, the command -----------------------------------------------------------------------------


def test_what_is_exported_is_the_best_push(model: Model, tmp_path: Path) -> None:
    file = tmp_path / "v.gguf"
    with torch.no_grad():
        found = steer_words(model, None, IDS[:5], replace(OPTIONS, layer=1, export=str(file)))
    assert found.control is not None
    assert found.best is not None
    vectors = ControlFile.read(file).directions
    assert list(vectors) == [1]
    np.testing.assert_allclose(vectors[1], found.best * found.length * found.arrays["direction"], rtol=1e-5)


@pytest.mark.parametrize("width", [50, 80, 120])
def test_the_report_fits(width: int, model: Model) -> None:
    with torch.no_grad():
        found = steer_words(model, model.tokenize("the bridge"), IDS[:5], replace(OPTIONS, say=None, more=MORE))
    shown = printed(found, width)
    assert max(map(len, shown.splitlines())) <= width
    for word in ("words", "concept", "gain", "price", "strength"):
        assert word in shown


@pytest.mark.parametrize(
    ("concept", "how", "told"),
    [
        (None, {"say": None}, "either a concept prompt or words to say"),
        (IDS[:3], {}, "either a concept prompt or words to say"),
        (None, {"say": (" ",)}, "the word is empty"),
        (None, {"say": (99999,)}, "no token 99999"),
        (None, {"layer": 99}, "no layer 99"),
        (None, {"strengths": (0.0,)}, "not 0"),
        (None, {"tokens": 2000}, "do not fit"),
        (None, {"more": (IDS * 100,), "tokens": 100}, "do not fit|context holds"),
        (None, {"layer": 0, "export": "x.gguf"}, "no control vector to layer 0"),
    ],
)
def test_mistakes(concept: list[int] | None, how: dict[str, object], told: str, model: Model) -> None:
    laps: list[str] = []
    with pytest.raises(UserError, match=told):
        steer_words(model, concept, IDS[:5], replace(OPTIONS, **how), laps.append)  # type: ignore[arg-type]
    assert laps == []


def test_a_stream_of_several_planes_is_refused(tmp_path: Path) -> None:
    with Model.open(make("gemma3n", tmp_path / "m.gguf")) as planes, pytest.raises(UserError, match="several planes"):
        steer_words(planes, None, IDS[:4], SteerWordsOptions(say=(30,), tokens=2))


def test_the_command_and_its_round_trip(tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "s.safetensors"
    base = ["steer", str(tiny_path), "--say", "bridge", "--prompt", "the", "--prompt", "The bridge", "--tokens", "3"]
    assert run([*base, "--save", str(saved)]) == 0
    shown = capsys.readouterr().out
    again = load(saved)
    assert isinstance(again, SteeredWords)
    assert [other.prompt for other in again.others] == ["The bridge"]
    assert printed(again, 80).split() == shown.split()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--say", "a", "--concept", "b"], "either --concept or --say, not both"),
        (["--say", "a", "--method", "words"], "--method says how a concept steers"),
        (["--say", "a", "--direction", "left"], "--direction goes with --concept TEXT --method operator or end"),
        (["--concept", "a", "--method", "operator", "--neutral", "x"], "--neutral goes with"),
        (["--concept", "a", "--ablate"], "--ablate goes with --positive and --negative"),
        (["--say", "a", "--prompt", ""], "the prompt is empty"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], told: str, tiny_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["steer", str(tiny_path), "--prompt", "x", *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
