"""Steering: the operator against dense maps and autograd, its texts against plain passes, its choice and its report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from conftest import IDS, printed
from ggufjac.analyses.common.decoding import Decoder
from ggufjac.analyses.options import SteerOptions
from ggufjac.analyses.steer import concepts, leverage
from ggufjac.analyses.steer.concepts import concept_tokens, mass
from ggufjac.analyses.steer.control import directions, exportable
from ggufjac.analyses.steer.influences import ConceptMaps, ControlVector, Steering, StreamMaps
from ggufjac.analyses.steer.leverage import PRICE, STRENGTHS, at_price, candidate_layers, candidates
from ggufjac.analyses.steer.steering import Steered, steer
from ggufjac.analyses.table import load
from ggufjac.cli.main import run
from ggufjac.errors import UserError
from ggufjac.llamacpp.control import ControlFile
from ggufjac.maps.model import Model
from ggufjac.maps.within.sites import LAYER
from ggufjac.network.forward import build, propagate, run_of
from ggufjac.network.texts import Reading, embedded, logits_of_texts, states_of_text
from tinymodels import make

CONCEPT, TEXT = IDS[:4], torch.tensor([[1, 99, 17, 250, 64, 300, 12, 5, 77, 31]])
#: One of the plain kind, one whose state is wider than its stream, one that keeps something else than keys and values;
#: and one whose stream has four planes.
FAMILIES, PLANES = ("llama", "gemma4", "lfm2"), "gemma3n"
Opened = Callable[[str], Model]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    folder, models = tmp_path_factory.mktemp("steer"), dict[str, Model]()

    def of(family: str) -> Model:
        if family not in models:
            overrides = {"attention_bias": True, "mlp_bias": True, "n_layer": 3} if family == "llama" else {}
            models[family] = Model.open(make(family, folder / f"{family}.gguf", **overrides))
        return models[family]

    yield of
    for model in models.values():
        model.close()


def apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@cache
def dense(model: Model, layer: int) -> Tensor:
    """J^(l)_t, [leaving, T, d]."""
    return StreamMaps(model.family, model.linearize(CONCEPT, dtype=torch.float64)).cumulative(layer).jacobian()


# --- the operator -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_maps_to_the_stream_are_autograds(family: str, opened: Opened) -> None:
    """Of the detached graph, with no norm behind the layer."""
    model = opened(family)
    x = model.embed(CONCEPT, torch.float64).requires_grad_()
    states = propagate(model.family, run_of(CONCEPT, attached=True), x).states
    for layer in (0, 1, model.family.n_layer - 1):
        y = torch.randn(3, model.family.leaving, generator=torch.Generator().manual_seed(layer), dtype=x.dtype)
        stream = states[layer + 1][-1, : model.family.leaving]
        (found,) = zip(*(torch.autograd.grad(stream, x, u, retain_graph=True) for u in y), strict=True)
        assert apart(torch.einsum("nd,dtm->ntm", y, dense(model, layer)), torch.stack(found)) < 1e-12


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_concept_adds_is_the_sum_of_its_maps(family: str, opened: Opened) -> None:
    model = opened(family)
    layers = (0, 2)
    concept = ConceptMaps(model.family, model.linearize(CONCEPT, dtype=torch.float64), layers)
    steering = Steering(concept, layers, (1.0, 1.0))
    for start, stop in ((0, 6), (6, 7), (7, 10)):
        steering.advance(TEXT[:, start:stop].expand(2, -1))
    x = embedded(model.family, TEXT[0], torch.float64)
    for i, layer in enumerate(layers):
        j = dense(model, layer)
        terms = torch.stack([j[:, k % len(CONCEPT)] @ x[k] for k in range(len(x))])
        assert apart(steering.directions[i], terms.cumsum(0)) < 1e-12
        written = torch.einsum("dtn,tn->d", j, model.embed(CONCEPT, torch.float64))
        assert apart(concept.written[i], written) < 1e-12
    assert (concept.misses() < 1e-13).all()


@pytest.mark.parametrize("family", [*FAMILIES, PLANES])
def test_steered_steps_are_the_definition(family: str, opened: Opened) -> None:
    """Layer by layer, with the whole text at once, against steps of several texts with a layer and strength each."""
    model, n = opened(family), TEXT.shape[1]
    # the last layer of a short model, of which only the last position is run
    layers, strengths = (0, 2, 1, 0), (0.7, 1.0, -1.3, 0.0)
    if family == PLANES:  # a model of many layers
        layers, strengths = layers[1:3], strengths[1:3]
    side_by_side = TEXT.expand(len(layers), -1)
    concept = ConceptMaps(model.family, model.linearize(CONCEPT, dtype=torch.float64), layers)
    reading = Reading(model.family, n, torch.float64, influence=Steering(concept, layers, strengths))
    steps = [reading.read(side_by_side[:, a:b]) for a, b in ((0, 5), (5, 6), (6, 7), (7, 10))][-1]
    anew = Steering(concept, layers, strengths)
    reread = Reading(model.family, n, torch.float64, influence=anew, cached=False)
    assert apart(reread.read(side_by_side), steps) < 1e-12
    x0 = embedded(model.family, TEXT[0], torch.float64)
    for layer, strength, logits in zip(layers, strengths, steps, strict=True):
        j, how, x = dense(model, layer), run_of(TEXT[0].tolist()), x0
        a = torch.stack([j[:, k % len(CONCEPT)] @ x0[k] for k in range(n)]).cumsum(0)
        with torch.no_grad():
            for i, part in enumerate(model.family.layers):
                x = build(part, how.at(i), x)[1]
                if i == layer:
                    h = x[:, : model.family.leaving]
                    # a short convolution does not carry the first tokens to the last position: a is 0 there
                    unit = torch.nn.functional.normalize(a, dim=-1)
                    added = strength * h.norm(dim=-1, keepdim=True) * unit / 2
                    x = torch.cat((h + added, x[:, model.family.leaving :]), -1)
            expected = model.family.head.value(how, model.family.output_norm.value(how, x))[-1]
        assert apart(logits, expected) < 1e-12


def test_along_its_end_the_concept_adds_one_direction(opened: Opened) -> None:
    model, n = opened("llama"), TEXT.shape[1]
    concept = ConceptMaps(model.family, model.linearize(CONCEPT, dtype=torch.float64), (1,))
    steering = Steering(concept, (1,), (0.7,), "end")
    reading = Reading(model.family, n, torch.float64, influence=steering)
    logits = [reading.read(TEXT[:, a:b]) for a, b in ((0, 5), (5, 6), (6, n))][-1][0]
    j = dense(model, 1)
    a = torch.einsum("dtn,tn->d", j, model.embed(CONCEPT, torch.float64))
    assert apart(steering.directions[0], a.expand(n, -1)) < 1e-12
    how, x = run_of(TEXT[0].tolist()), embedded(model.family, TEXT[0], torch.float64)
    with torch.no_grad():
        for i, part in enumerate(model.family.layers):
            x = build(part, how.at(i), x)[1]
            if i == 1:
                x = x + 0.7 * x.norm(dim=-1, keepdim=True) * a / a.norm() / 2
        expected = model.family.head.value(how, model.family.output_norm.value(how, x))[-1]
    assert apart(logits, expected) < 1e-12


def test_a_strength_of_nothing_changes_nothing(opened: Opened) -> None:
    model = opened("llama")
    concept = ConceptMaps(model.family, model.linearize(CONCEPT, dtype=torch.float64), (1,))
    steered, alone = (
        Reading(model.family, 20, torch.float64, influence=influence)
        for influence in (Steering(concept, (1,), (0.0,)), None)
    )
    torch.testing.assert_close(steered.read(TEXT), alone.read(TEXT), rtol=0, atol=0)


def test_the_steered_pass_is_affine_in_what_enters_it(opened: Opened) -> None:
    """What is added belongs to the layer's operator, as a constant."""
    model = opened("llama")
    concept = ConceptMaps(model.family, model.linearize(CONCEPT, dtype=torch.float64), (1,))
    steering = Steering(concept, (1,), (1.0,))
    steering.advance(TEXT)
    x = embedded(model.family, TEXT, torch.float64)
    with torch.no_grad():
        done = propagate(model.family, run_of(TEXT[0].tolist()), x, edit=steering.edit)
        for op in (*done.layers, done.final):
            x = op.apply(x, 1.0)
    assert apart(x, done.output) < 1e-13


# --- the concept's tokens, and the layer ------------------------------------------------------------------------


def test_the_concepts_tokens_are_written_or_predicted_and_not_said_anyway(tiny: Model) -> None:
    linear = tiny.linearize(CONCEPT)
    decoder = Decoder(tiny.family, torch.float32)
    nothing = torch.zeros(tiny.family.n_vocab)
    found = concept_tokens(linear, linear.logits, nothing, decoder, tiny.vocab)
    u = linear.svd(concepts.VECTORS).U
    written = set(decoder.writes(u, concepts.TOKENS_EACH).ids.flatten().tolist())
    predicted = set(linear.logits.topk(concepts.PREDICTIONS).indices.tolist())
    assert set(found) <= written | predicted
    assert set(found) & written
    for token in (written | predicted) - set(found):
        text = tiny.vocab.piece(token).decode("utf-8", "ignore").strip()
        assert tiny.vocab.is_special(token) or not any(map(str.isalpha, text)) or len(text) == 1
    usual = nothing.clone()
    usual[found[0]] = 0.011
    assert concept_tokens(linear, linear.logits, usual, decoder, tiny.vocab) == found[1:]
    everything = torch.ones(tiny.family.n_vocab)
    assert concept_tokens(linear, linear.logits, everything, decoder, tiny.vocab) == (int(linear.logits.argmax()),)


def test_mass_is_the_probability_of_the_tokens() -> None:
    logits = torch.tensor([[1.0, 0.0, -2.0, 3.0]])
    p = logits.double().softmax(-1)
    torch.testing.assert_close(mass(logits, (0, 2)).exp(), p[:, 0] + p[:, 2])


def test_gains_are_read_off_at_one_price() -> None:
    found = at_price(3, (1.0, 2.0, 4.0), (0.1, 0.9, 3.0))
    assert (found.layer, found.price) == (3, PRICE)
    assert found.strength == pytest.approx(0.75)
    assert found.gain == pytest.approx(1.5)
    first = at_price(0, (2.0, 3.0, 4.0), (2 * PRICE, 3.0, 4.0))
    assert (first.gain, first.strength) == (pytest.approx(1.0), pytest.approx(STRENGTHS[0] / 2))
    never = at_price(5, (0.1, 0.2, 0.3), (0.01, 0.02, 0.03))
    assert (never.gain, never.strength, never.price) == (0.3, STRENGTHS[-1], 0.03)


def test_candidates_are_spread_over_all_layers() -> None:
    assert candidate_layers(7) == tuple(range(7))
    many = candidate_layers(62)
    assert (len(many), many[0], many[-1]) == (leverage.LAYERS, 0, 61)
    assert set(torch.tensor(many).diff().tolist()) <= {5, 6}


def test_candidates_are_measured_by_plain_passes(opened: Opened) -> None:
    model, counted, first = opened("llama"), (5, 42), 3
    linear = model.linearize(CONCEPT, dtype=torch.float64)
    concept = ConceptMaps(model.family, linear, (0, 2))
    with torch.no_grad():
        found = candidates(concept, TEXT[0], first, counted, n_ctx=10, memory=1)
        (alone,) = logits_of_texts(model.family, TEXT, torch.float64)
    before = alone[0, first:].log_softmax(-1)
    assert [candidate.layer for candidate in found] == [0, 2]
    for candidate in found:
        for strength, gain, price in zip(STRENGTHS, candidate.gains, candidate.prices, strict=True):
            steering = Steering(concept, (candidate.layer,), (strength,))
            (steered,) = logits_of_texts(model.family, TEXT, torch.float64, influence=lambda _, s=steering: s)
            after = steered[0, first:].log_softmax(-1)
            p = [x[:, counted].exp().sum(-1) for x in (before, after)]
            assert gain == pytest.approx(float((p[1].log() - p[0].log()).mean()), abs=1e-9)
            assert price == pytest.approx(float((before.exp() * (before - after)).sum(-1).mean()), abs=1e-9)


# --- the analysis -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result(opened: Opened) -> Steered:
    return steer(opened("llama"), CONCEPT, TEXT[0].tolist(), SteerOptions(tokens=6, dtype=torch.float64))


def test_texts_are_the_likeliest_and_measured_by_the_model(opened: Opened, result: Steered) -> None:
    model, prompt = opened("llama"), TEXT[0].tolist()
    assert [text.strength for text in (result.unsteered, *result.steered)] == [0, *SteerOptions().strengths]
    counted = tuple(piece.id for piece in result.counts)
    concept = ConceptMaps(model.family, model.linearize(CONCEPT, dtype=torch.float64), (result.layer,))
    for text in (result.unsteered, *result.steered):
        new = [piece.id for piece in text.tokens]
        whole = torch.tensor([prompt + new])
        ln_p = model.run(prompt + new[:-1], torch.float64).logits[len(prompt) - 1 :].log_softmax(-1)
        assert text.likelihood == pytest.approx(float(ln_p[range(len(new)), new].mean()), abs=1e-9)
        assert text.counted == sum(token in counted for token in new)
        assert text.ended == model.vocab.ends_text(new[-1])
        steering = Steering(concept, (result.layer,), (text.strength,))
        (own,) = logits_of_texts(model.family, whole[:, :-1], torch.float64, influence=lambda _, s=steering: s)
        own = own[0, len(prompt) - 1 :].log_softmax(-1)
        assert own.argmax(-1).tolist() == new
        assert text.own == pytest.approx(float(own.max(-1).values.mean()), abs=1e-9)
        assert text.mass == pytest.approx(float(own[:, counted].exp().sum(-1).mean()), abs=1e-9)
    assert result.exactness < 1e-13


def test_the_layer_is_the_one_with_the_largest_gain(result: Steered) -> None:
    assert result.chosen
    assert [candidate.layer for candidate in result.candidates] == [0, 1, 2]
    assert result.layer == max(result.candidates, key=lambda candidate: candidate.gain).layer


def test_a_layer_and_tokens_that_are_given_are_used(opened: Opened) -> None:
    options = SteerOptions(layer=1, counted=(7, 8), strengths=(2.0,), tokens=3)
    found = steer(opened("llama"), CONCEPT, [1, 5], options)
    assert (found.layer, found.chosen, found.candidates) == (1, False, ())
    assert [piece.id for piece in found.counts] == [7, 8]


def test_drawn_texts_depend_on_their_seed_alone(opened: Opened) -> None:
    def drawn(seed: int, *strengths: float) -> list[str]:
        options = SteerOptions(
            layer=1, counted=(7,), strengths=strengths, tokens=6, temperature=1.0, top_p=0.95, seed=seed
        )
        found = steer(opened("llama"), CONCEPT, [1, 5], options)
        return [text.text for text in (found.unsteered, *found.steered)]

    assert drawn(1, 0.5) == drawn(1, 0.5)
    assert drawn(1, 2.0, 0.5)[::2] == drawn(1, 0.5)
    assert drawn(1, 0.5)[0] != drawn(2, 0.5)[0]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"layer": 3}, "no layer 3; the model has layers 0 to 2"),
        ({"layer": -1}, "no layer -1"),
        ({"tokens": 0}, "at least 1"),
        ({"tokens": 1100}, "10 tokens and 1100 more do not fit the model's context of 1024; ask for at most 1014"),
        ({"strengths": (0.0,)}, "not 0"),
        ({"strengths": (float("inf"),)}, "finite"),
        ({"strengths": ()}, "strengths"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"counted": (99999,)}, "no token 99999"),
        ({"export": "x.gguf", "export_layers": (0,)}, "no control vector to layer 0"),
        ({"export": "x.gguf", "export_layers": (1, 3)}, "no layer 3"),
    ],
)
def test_mistakes_are_told_before_anything_is_computed(options: dict[str, object], told: str, opened: Opened) -> None:
    laps: list[str] = []
    with pytest.raises(UserError, match=told):
        steer(opened("llama"), CONCEPT, TEXT[0].tolist(), SteerOptions(**options), laps.append)  # type: ignore[arg-type]
    assert laps == []


# --- control vectors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", PLANES])
def test_directions_are_the_leading_left_vectors_of_the_dense_maps(family: str, opened: Opened) -> None:
    model = opened(family)
    d, planes = model.family.d, model.family.leaving // model.family.d
    layers = exportable(model, None)[0][: 1 if family == PLANES else 2]
    concept = ConceptMaps(model.family, model.linearize(CONCEPT, dtype=torch.float64), (1,))
    streams = states_of_text(model.family, TEXT[0], torch.float64, n_ctx=10)
    for kind in ("left", "written"):
        found, cosines = directions(model, concept, TEXT[0], layers, kind, seed=0, n_ctx=10)  # type: ignore[arg-type]
        assert tuple(found) == layers
        for layer, cosine in zip(layers, cosines, strict=True):
            j = dense(model, layer)
            whole = torch.einsum("dtn,tn->d", j, model.embed(CONCEPT, torch.float64))
            u = torch.linalg.svd(j.flatten(1), full_matrices=False).U[:, 0] if kind == "left" else whole
            h = propagate(model.family, run_of(CONCEPT), model.embed(CONCEPT, torch.float64)).states[layer + 1][-1]
            u = u * torch.sign(u @ h[: len(u)])
            mean, written = u.view(planes, d).mean(0), whole.view(planes, d).mean(0)
            assert torch.cosine_similarity(found[layer], mean, 0) > 1 - 1e-3
            assert cosine == pytest.approx(float(torch.cosine_similarity(mean, written, 0)), abs=1e-2)
            half = streams[layer + 1][:, : planes * d].norm(dim=-1).median() / 2
            assert found[layer].norm() == pytest.approx(float(half / len(layers) / planes**0.5), rel=1e-9)


def test_a_file_does_here_what_it_says(opened: Opened, tmp_path: Path) -> None:
    target = tmp_path / "control.gguf"
    model = opened("llama")
    options = SteerOptions(layer=1, counted=(7,), strengths=(1.0,), tokens=4, export=str(target), directions="written")
    found = steer(model, CONCEPT, [1, 5, 9], options)
    assert found.control is not None
    assert found.controlled is not None
    assert (found.control.layers, found.control.left_out) == ((1, 2), (0,))
    assert found.control.cosines == pytest.approx((1.0, 1.0))
    written = ControlFile.read(target)
    assert written.model_hint == "llama"
    vectors = {layer: torch.from_numpy(v) for layer, v in written.directions.items()}
    torch.testing.assert_close(torch.stack(list(vectors.values())), found.arrays["control"])
    new = [piece.id for piece in found.controlled.tokens]
    (logits,) = logits_of_texts(
        model.family,
        torch.tensor([[1, 5, 9, *new[:-1]]]),
        torch.float32,
        influence=lambda _: ControlVector(model.family, vectors),
    )
    assert logits[0, 2:].argmax(-1).tolist() == new


def test_maps_to_the_stream_are_wide_as_it(opened: Opened) -> None:
    model = opened(PLANES)
    maps = StreamMaps(model.family, model.linearize(CONCEPT))
    (site,) = maps.sites([(1, LAYER)])
    assert site.output.shape == (4 * model.family.d,)
    assert site.width > 4 * model.family.d


# --- the report and the command ---------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [50, 80, 120])
def test_the_report_fits(result: Steered, width: int) -> None:
    shown = printed(result, width)
    assert max(map(len, shown.splitlines())) <= width
    for word in ("concept", "strength", "gain", "ln p", "exactness"):
        assert word in shown


def test_the_command_its_file_and_its_round_trip(
    tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved, control = tmp_path / "s.safetensors", tmp_path / "c.gguf"
    base = ["steer", str(tiny_path), "--concept", "the", "--method", "operator", "--prompt", "The bridge"]
    extras = ["--strength", "1", "-0.5", "1", "--tokens", "4", "--export", str(control), "--save", str(saved)]
    assert run([*base, *extras]) == 0
    shown = capsys.readouterr().out
    assert "-0.5" in shown
    assert "--control-vector-scaled" in shown
    again = load(saved)
    assert isinstance(again, Steered)
    assert [text.strength for text in again.steered] == [1.0, -0.5]
    assert again.control is not None
    assert set(ControlFile.read(control).directions) == {1}
    assert printed(again, 80).split() == shown.split()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--concept", "", "--prompt", "x"], "the concept is empty"),
        (["--concept", "x", "--prompt", ""], "the prompt is empty"),
        (["--concept", "x", "--prompt", "x", "--layer", "7"], "no layer 7"),
        (["--concept", "x", "--prompt", "x", "--export-layers", "1"], "go with --export FILE"),
        (["--concept", "x", "--prompt", "x", "--export", "/nowhere/c.gguf"], "missing or not writable"),
        (["--concept", "x", "--prompt", "x", "--count", "no such token"], "--count: no token"),
        (["--concept", "x", "--prompt", "x", "--tokens", "5000"], "do not fit the model's context"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], told: str, tiny_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["steer", str(tiny_path), *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["--layer", "x"], ["--strength", "0"], ["--strength", "nan"], ["--temperature", "-1"], ["--top-p", "0"], []],
)
def test_arguments_that_say_nothing_are_refused(
    arguments: list[str], tiny_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    concept = ["--concept", "x"] if arguments else []
    assert run(["steer", str(tiny_path), *concept, "--prompt", "x", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ggufjac: --")
