"""Every analysis on the map of llama.cpp's own run: what adds up adds up to llama.cpp's numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import IDS, printed
from ggufjac.analyses import ablate, analyze, attribute, extremes, layers, ordinary
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.options import (
    AblateOptions,
    AnalyzeOptions,
    AttributeOptions,
    ExtremesOptions,
    LayersOptions,
    OrdinaryOptions,
)
from ggufjac.analyses.table import load
from ggufjac.cli.main import run
from ggufjac.errors import UserError
from ggufjac.llamacpp.quantize import quantize
from ggufjac.llamacpp.run import Runner
from ggufjac.maps.model import Model
from tinymodels import make

PROMPT = IDS[:7]
HOW: dict[str, Any] = {"run": "llama.cpp", "threads": 1}
#: What sums may miss of llama.cpp's logits.
SUM = 1e-5


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captured")
    quantize(make("llama", folder / "f32.gguf", attention_bias=True, mlp_bias=True), folder / "tiny.gguf", "Q4_0")
    return folder / "tiny.gguf"


@pytest.fixture(scope="module")
def model(path: Path) -> Iterator[Model]:
    with Model.open(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def theirs(path: Path) -> torch.Tensor:
    """llama.cpp's logits."""
    with Runner(path, len(PROMPT), threads=1) as runner:
        return torch.from_numpy(runner.logits(PROMPT))


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


ANALYSES: dict[str, Callable[[Model], Result]] = {
    "analyze": lambda model: analyze.analyze(model, PROMPT, AnalyzeOptions(top=3, verify=False, **HOW)),
    "layers": lambda model: layers.layers(
        model, PROMPT, LayersOptions(top=3, what=("layer", "attn", "mlp"), layerwise=True, **HOW)
    ),
    "attribute": lambda model: attribute.attribute(model, PROMPT, AttributeOptions(top=3, above="zero", **HOW)),
    "extremes": lambda model: extremes.extremes(model, PROMPT, ExtremesOptions(top=2, **HOW)),
    "ablate": lambda model: ablate.ablate(model, PROMPT, AblateOptions(components=2, **HOW)),
}


@pytest.mark.parametrize("name", ANALYSES)
def test_every_analysis_says_whose_run_it_explains(
    name: str, model: Model, theirs: torch.Tensor, tmp_path: Path
) -> None:
    result: Any = ANALYSES[name](model)
    assert result.llama.cache == "f16"
    assert result.llama.same_first
    assert result.llama.logits < SUM
    assert result.predictions[0].token.id == int(theirs.argmax())
    assert result.predictions[0].logit == float(theirs.max())
    for width in (60, 104):
        shown = printed(result, width)
        assert max(map(len, shown.splitlines())) <= width
        assert "llama.cpp's own run" in shown
    result.save(tmp_path / "a.safetensors")
    # as text: a number that is not finite is not equal to itself
    assert repr(load(tmp_path / "a.safetensors")) == repr(result)


def test_what_was_saved_before_there_was_a_choice_is_still_read(model: Model) -> None:
    result = ANALYSES["extremes"](model)
    plain = result.to_dict()
    del plain["llama"]
    again: Any = type(result).from_dict(plain)
    assert again.llama is None


def test_terms_add_up_to_llama_cpps_logits(model: Model, theirs: torch.Tensor) -> None:
    first = float(theirs.max())
    one: Any = ANALYSES["analyze"](model)
    assert sum(row.logit for row in one.tokens) + one.constant_logit == pytest.approx(first, abs=SUM)
    assert one.reconstruction < SUM
    two: Any = ANALYSES["attribute"](model)
    for question, missed in zip(two.questions, two.missed, strict=True):
        assert question.value == pytest.approx(float(theirs[question.target.token.id]), abs=SUM)
        assert abs(missed) < SUM
    assert sum(write.total for write in two.writes) == pytest.approx(first, abs=SUM)
    assert all(sum(row) == pytest.approx(first, abs=SUM) for row in two.carried)
    three: Any = ANALYSES["layers"](model)
    assert sum(write.logit for write in three.writes) == pytest.approx(first, abs=SUM)
    for reading in three.readings:
        assert sum(reading.shares) + reading.constant_share == pytest.approx(1, abs=SUM)
        assert reading.layerwise is not None


def test_the_lens_at_the_last_layer_is_llama_cpps_head(model: Model, theirs: torch.Tensor) -> None:
    result: Any = ANALYSES["layers"](model)
    last = result.of_part("layer")[-1]
    order = theirs.argsort(descending=True)[: len(last.lens)].tolist()
    assert [piece.id for piece in last.lens] == order
    assert last.probability == pytest.approx(float(theirs.double().softmax(-1)[order[0]]), abs=1e-4)


def test_ablation_holds_each_side_against_its_own(path: Path, model: Model, theirs: torch.Tensor) -> None:
    result: Any = ANALYSES["ablate"](model)
    target = result.target.token.id
    before = float(theirs.double().log_softmax(-1)[target])
    exact = float(model.linearize(PROMPT, dtype=torch.float64).logits.log_softmax(-1)[target])
    assert abs(before - exact) > 1e-3
    linear = model.linearize(PROMPT, **HOW)
    with Runner(path, len(PROMPT), threads=1) as runner:
        for t, row in enumerate(result.tokens):
            rest = torch.from_numpy(runner.logits([*PROMPT[:t], *PROMPT[t + 1 :]])).double().log_softmax(-1)
            assert row.left_out.change == pytest.approx(float(rest[target]) - before, abs=1e-6)
            y = linear.output - linear.jacobian()[:, t] @ linear.inputs[t]
            without = linear.head.apply(y[None, None], 1.0)[0, 0].double().log_softmax(-1)
            assert row.linear.change == pytest.approx(float(without[target]) - before, abs=1e-4)
    # what the model makes of changed vectors is what it makes of them without any rounding
    plain = ablate.ablate(model, PROMPT, AblateOptions(target=target, components=2))
    for row, other in zip(result.tokens, plain.tokens, strict=True):
        assert row.zeroed.change == pytest.approx(other.zeroed.change, abs=1e-4)
        assert row.derivative == pytest.approx(other.derivative, abs=1e-4)


def test_a_computation_that_rounds_has_no_derivatives(model: Model, path: Path) -> None:
    with pytest.raises(UserError, match="0 almost everywhere"):
        ordinary.ordinary(model, PROMPT, OrdinaryOptions(**HOW))
    with pytest.raises(UserError, match="0 almost everywhere"):
        analyze.analyze(model, PROMPT, AnalyzeOptions(ordinary=True, **HOW))
    assert run(["ordinary", str(path), "a", "--run", "llama.cpp"]) == 2


@pytest.mark.parametrize("command", ["analyze", "layers", "attribute", "extremes", "ablate"])
def test_the_commands_take_llama_cpps_settings(command: str, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, str(path), "The bridge", "--cache", "f32"]) == 2
    assert "they go with --run llama.cpp" in capsys.readouterr().err
    assert run([command, str(path), "The bridge", "--run", "llama.cpp", "--cache", "f32", "--threads", "1"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "llama.cpp's own run of this file, all its roundings included (f32 cache, 1 thread" in shown
