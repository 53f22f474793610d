"""What rounding did, step by step: it adds up, it is what single steps do, and a coarse step is found out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import IDS, printed
from ggufjac.analyses.judge.explain import Explanation, explain
from ggufjac.analyses.options import ExplainOptions
from ggufjac.analyses.table import load
from ggufjac.cli.main import run
from ggufjac.llamacpp.quantize import quantize
from ggufjac.maps.model import Model
from ggufjac.network.followed.hybrids import hybrids
from ggufjac.network.followed.run import FollowedRun
from ggufjac.network.forward import build, propagate, run_of
from ggufjac.quants.tensor import QuantTensor
from tinymodels import make

#: A mixture, keys that later layers borrow, values made of latent vectors, GELU, parallel blocks, recurrences.
FAMILIES = ("qwen3moe", "gemma3n", "gemma4", "deepseek2", "falcon", "granitehybrid", "rwkv7")
VARIANTS: dict[str, dict[str, Any]] = {
    "gemma4": {"n_layer": 8, "n_input": 256, "shared": 3, "double": True},
    "gemma3n": {"n_embd": 64, "n_ff": 64, "n_head": 2, "n_head_kv": 1, "head_dim": 32},
}


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def quantised(folder: Path, family: str, ftype: str, **overrides: Any) -> Path:
    quantize(make(family, folder / "f32.gguf", **overrides), folder / "tiny.gguf", ftype)
    return folder / "tiny.gguf"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantised(tmp_path_factory.mktemp("explained"), "llama", "Q4_0")


@pytest.fixture(scope="module")
def model(path: Path) -> Iterator[Model]:
    with Model.open(path) as opened:
        yield opened


def explained(model: Model, ids: list[int] = IDS, dtype: torch.dtype = torch.float64, **settings: Any) -> Explanation:
    return explain(model, ids, ExplainOptions(dtype=dtype, threads=1, **settings))


def check_sum(model: Model, found: Explanation, ids: list[int] = IDS) -> None:
    """From exact arithmetic on its own to llama.cpp's logits, with nothing left that a step does not have."""
    exact = model.linearize(ids, dtype=torch.float64).logits
    theirs = found.arrays["logits"].double()
    assert (found.arrays["exact"] - exact).abs().max() < 1e-12 * exact.std()
    first, other = int(theirs.argmax()), int(exact.argmax())
    assert found.first.id == first
    assert found.other is None if first == other else found.other.id == other
    gap = theirs - exact
    whole = float(gap[first] - (gap[other] if first != other else 0))
    assert sum(step.moves for step in found.steps) + found.remainder == pytest.approx(whole, rel=1e-10, abs=1e-12)
    assert abs(found.remainder) < 1e-5 * float(exact.std())
    assert found.steps[-1].first == found.first
    assert (found.turned is None) == (found.other is None)


def test_the_steps_add_up(model: Model) -> None:
    found = explained(model)
    check_sum(model, found)
    parts = ["attention probabilities", "attn_v", "values in the cache", "attn_output"]
    parts += ["ffn_gate", "ffn_up", "ffn_down"]
    assert [(s.layer, s.part) for s in found.steps] == [*((i, p) for i in range(2) for p in parts), (-1, "output")]
    assert {s.kind for s in found.steps if s.part.startswith("ffn")} == {"Q4_0"}
    assert {s.kind for s in found.steps if not s.part.startswith(("ffn", "attn_", "output"))} == {""}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_steps_add_up_whatever_a_layer_leaves_for_later_ones(family: str, tmp_path: Path) -> None:
    with Model.open(quantised(tmp_path, family, "Q8_0", **VARIANTS.get(family, {}))) as model:
        found = explained(model, IDS[:5])
        check_sum(model, found, IDS[:5])
        assert {step.layer for step in found.steps} == {*range(model.family.n_layer), -1}


def test_a_step_is_what_its_product_does(model: Model) -> None:
    """The last product of the network is rounded in one hybrid and exact in the one before it."""
    done = model.linearize(IDS, dtype=torch.float64, run="llama.cpp", threads=1).forward_pass
    assert isinstance(done.run, FollowedRun)
    found = {(h.layer, h.part): h.output for h in hybrids(model.family, done)}
    down: QuantTensor = model.family.source.matrix("blk.1.ffn_down.weight", model.family.d, model.family.n_ff(1))
    (entering,) = done.run.recording.inputs[down.name]
    value = torch.from_numpy(entering[-1]).double()
    weight = down.dequantize(torch.float64)
    # Q8_0, by ggml's rule: blocks of 32, scale amax / 127 in float16
    blocks = value.view(-1, 32)
    scale = blocks.abs().amax(-1, keepdim=True) / 127
    rounded = ((blocks / scale).round() * scale.half().double()).flatten()
    state = done.states[-1][-1] + weight @ (value - rounded)
    expected = model.family.output_norm.value(done.run.exact(), state[None])[0]
    # what enters is the float32 number of llama.cpp here and that of our own following there
    torch.testing.assert_close(found[1, "ffn_down"], expected, rtol=0, atol=1e-6)
    assert (found[1, "ffn_down"] - found[-1, "output"]).abs().max() > 1e-3


def test_hybrids_go_on_exactly_from_llama_cpps_states(model: Model) -> None:
    done = model.linearize(IDS, dtype=torch.float64, run="llama.cpp", threads=1).forward_pass
    found = list(hybrids(model.family, done))
    exact = propagate(model.family, run_of(IDS), done.states[0])
    torch.testing.assert_close(found[0].output, exact.output[0], rtol=0, atol=1e-12)
    run, last = run_of(IDS), (len(IDS) - 1,)
    _, state = build(model.family.layers[1], run.at(1, last), done.states[1])
    (entered,) = [h.output for h in found if (h.layer, h.part) == (1, "attention probabilities")]
    torch.testing.assert_close(entered, model.family.output_norm.value(run, state)[0], rtol=0, atol=1e-12)


def test_only_a_pass_that_follows_has_hybrids(model: Model) -> None:
    with pytest.raises(ValueError, match="only a pass that follows"):
        next(hybrids(model.family, model.linearize(IDS).forward_pass))


@pytest.mark.parametrize("name", ["blk.0.attn_v", "blk.1.ffn_down", "blk.0.ffn_up", "output"])
def test_the_one_coarse_step_is_blamed(name: str, tmp_path: Path) -> None:
    """Everything is float32 but one weight, whose activations llama.cpp rounds to 8 bits."""
    path = make("llama", tmp_path / "tiny.gguf", packed={f"{name}.weight": "Q4_0"})
    with Model.open(path) as model:
        found = explained(model, cache="f32")
        check_sum(model, found)
    *_, layer, part = (name if "." in name else f"-1.{name}").removeprefix("blk.").split(".")
    worst, second = sorted(found.steps, key=lambda step: -step.noise)[:2]
    assert (worst.layer, worst.part, worst.kind) == (int(layer), part, "Q4_0")
    assert worst.noise > 1e-3
    assert second.noise < 1e-4 * worst.noise
    assert found.theirs - found.exact == pytest.approx(worst.moves, abs=1e-5)


def test_the_16_bit_cache_is_blamed_where_nothing_else_rounds(tmp_path: Path) -> None:
    with Model.open(make("llama", tmp_path / "tiny.gguf")) as model:
        found = explained(model, cache="f16")
        check_sum(model, found)
    loud = {step.part for step in found.steps if step.noise > 1e-5}
    assert loud == {"attention probabilities", "values in the cache"}


def test_float32_says_the_same(model: Model) -> None:
    single, double = explained(model, dtype=torch.float32), explained(model)
    for a, b in zip(single.steps, double.steps, strict=True):
        assert (a.layer, a.part) == (b.layer, b.part)
        assert a.moves == pytest.approx(b.moves, abs=1e-4)


def test_long_prompts_go_in_pieces(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = explained(model)
    monkeypatch.setattr("ggufjac.network.followed.hybrids.ROWS", 2 * len(IDS))
    monkeypatch.setattr("ggufjac.network.followed.hybrids.SCORES", 2 * model.family.n_vocab)
    for a, b in zip(explained(model).steps, whole.steps, strict=True):
        assert a.moves == pytest.approx(b.moves, abs=1e-12)


def test_it_is_saved_and_read_again(model: Model, tmp_path: Path) -> None:
    found = explained(model)
    found.save(tmp_path / "a.safetensors")
    assert load(tmp_path / "a.safetensors") == found


@pytest.mark.parametrize("width", [60, 80, 104])
def test_the_report_fits(model: Model, width: int) -> None:
    shown = printed(explained(model), width)
    assert max(map(len, shown.splitlines())) <= width
    for word in ("llama.cpp's own run", "attention", "ffn_down", "in no step", "head"):
        assert word in shown


def test_the_command(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    assert run(["verify", str(path), "a", "b c", "--direct", "--explain", "--json", str(out)]) == 0
    assert "ggufjac verify --explain" in capsys.readouterr().out
    told = json.loads(out.read_text(encoding="utf-8"))
    assert told["schema"] == "ggufjac.verify/1"
    assert [e["prompt"] for e in told["explanations"]] == ["a", "b c"]
    for e in told["explanations"]:
        total = sum(step["moves"] for step in e["steps"]) + e["remainder"]
        assert total == pytest.approx(e["theirs"] - e["exact"], rel=1e-10, abs=1e-12)


def test_there_is_nothing_to_explain_on_the_copy(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(path), "a", "--twin", "--explain"]) == 2
    assert "does not go with --twin" in capsys.readouterr().err


def test_gemmas_near_tie_has_a_cause(gemma3_path: Path) -> None:
    with Model.open(gemma3_path) as model:
        found = explain(model, "The bridge out of Marin is the", ExplainOptions(threads=2))
    assert found.agreement.verdict == "NEAR-TIE"
    assert (found.first.text, found.other and found.other.text) == (" first", " only")
    assert found.exact < 0 < found.theirs
    whole = found.theirs - found.exact
    assert sum(step.moves for step in found.steps) == pytest.approx(whole, abs=1e-4)
    assert abs(found.remainder) < 1e-4
    assert found.turned is not None
