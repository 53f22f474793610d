"""The map of llama.cpp's own run, against llama.cpp: its final state, its logits and its states between the layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ggufjac.analyses.common.followed import followed_of
from ggufjac.errors import UserError
from ggufjac.llamacpp.library import library, multiplies_by_tiles
from ggufjac.llamacpp.quantize import quantize
from ggufjac.llamacpp.run import Runner
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.model import Model
from ggufjac.maps.within.layers import LayerMaps
from ggufjac.network.followed.run import FollowedRun
from ggufjac.network.followed.settings import LlamaSettings
from ggufjac.operators import Deferred
from tinymodels import BOS, FAMILIES, VOCAB_SIZE, make

PROMPT = [BOS, *np.random.default_rng(7).integers(3, VOCAB_SIZE, 39).tolist()]
WIDESPREAD = ("llama", "mistral3", "qwen3", "gemma3", "phi3", "olmo2", "qwen3moe")
QUANTISED = ("Q4_K_M", "Q4_0", "Q8_0")
#: One of them for each family, so that all rules of rounding meet all kinds of layers.
ONE_EACH = ("Q8_0", "Q4_0", "Q5_1", "Q4_K_M")
TYPES = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K_M", "Q5_K_M", "Q6_K", "IQ4_NL", "IQ4_XS", "F16", "BF16")

#: What the map may miss of llama.cpp's final state, relative, and of its logits, over their spread. Measured: below
#: 1e-6 and 3e-6.
STATE, LOGITS = 1e-5, 1e-4
#: What a single step may be off, from llama.cpp's values before it. Measured: 6e-5 where gemma3n cuts off activations
#: by their distribution, elsewhere below 1e-5.
STEP = 1e-4

Tiny = Callable[..., Path]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The path of a family's tiny model in one file type; every float32 file is made once."""
    folder = tmp_path_factory.mktemp("captured")
    made: dict[str, Path] = {}

    def path_of(family: str, ftype: str = "F32", **overrides: Any) -> Path:
        name = f"{family} {overrides}"
        if name not in made:
            made[name] = make(family, folder / f"{len(made)}.gguf", **overrides)
        if ftype == "F32":
            return made[name]
        target = made[name].with_suffix(f".{ftype}.gguf")
        if not target.exists():
            quantize(made[name], target, ftype)
        return target

    return path_of


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(before)


def followed(model: Model, ids: list[int], dtype: torch.dtype = torch.float32, **settings: Any) -> DetachedMap:
    return model.linearize(ids, dtype=dtype, run="llama.cpp", threads=1, **settings)


def judge(model: Model, ids: list[int], **settings: Any) -> DetachedMap:
    """The followed map of a prompt, held against another run of llama.cpp that nobody watches."""
    linear = followed(model, ids, **settings)
    run = LlamaSettings(threads=1, **settings)
    with Runner(model.file.path, len(ids), kv=run.cache, threads=1, repack=run.repack) as runner:
        logits = torch.from_numpy(runner.logits(ids))
        states = runner.capture(ids, ["result_norm"], all_positions=False)
    assert torch.equal(linear.logits, logits)
    if FAMILIES[model.file.architecture].normalised:  # where it has no name the logits and what is rebuilt must do
        assert torch.equal(linear.output, torch.from_numpy(states["result_norm"][-1]))
    assert linear.reconstruction_error() < STATE
    made = linear.terms().sum(0)
    ours = linear.head.apply(made[None, None], 1.0)[0, 0]
    assert (ours - logits).abs().max() < LOGITS * logits.std()
    assert int(ours.argmax()) == int(logits.argmax())
    found = followed_of(linear)
    assert found is not None
    assert found.worst.relative < STEP, found.worst
    assert {rest.layer for rest in found.remainders} >= set(range(model.family.n_layer))
    return linear


#: Families whose layers llama.cpp lets read of a few positions by themselves, without naming what they read of each,
#: where it runs no more than 16 at once.
GATHERED = ("glm5-next",)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_followed(family: str, tiny: Tiny) -> None:
    ftype = ONE_EACH[list(FAMILIES).index(family) % len(ONE_EACH)]
    n_tokens = 17 if family in GATHERED else 12
    with Model.open(tiny(family, ftype)) as model:
        judge(model, PROMPT[:n_tokens])


def test_rounded_adapters_are_followed(tmp_path: Path) -> None:
    """llama.cpp's quantiser leaves them as they are, and its converter does not."""
    kinds = {"lora_a": "Q8_0", "lora_b": "BF16"}
    names = [f"blk.{i}.{x}" for i in range(2) for x in ("attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")]
    packed = {f"{name}.{end}": kind for name in names for end, kind in kinds.items()}
    with Model.open(make("graniteswitch", tmp_path / "tiny.gguf", packed=packed)) as model:
        linear = judge(model, PROMPT)
        exact = model.linearize(PROMPT)
        assert (exact.output - linear.output).norm() > 1e-3 * linear.output.norm()


def test_blocks_of_128_positions_are_followed(tiny: Tiny) -> None:
    long = [BOS, *np.random.default_rng(8).integers(3, VOCAB_SIZE, 149).tolist()]
    with Model.open(tiny("deepseek4", "Q4_K_M", ratios=(4, 128))) as model:
        judge(model, long)


@pytest.mark.parametrize("ftype", QUANTISED)
@pytest.mark.parametrize("family", WIDESPREAD)
def test_the_map_is_that_of_llama_cpps_run(family: str, ftype: str, tiny: Tiny) -> None:
    with Model.open(tiny(family, ftype)) as model:
        linear = judge(model, PROMPT)
        exact = model.linearize(PROMPT)
        # it is the rounding that is explained: exact arithmetic is a hundred times further away
        assert (exact.output - linear.output).norm() > 1e-3 * linear.output.norm()


@pytest.mark.parametrize("family", WIDESPREAD)
def test_every_state_is_llama_cpps_and_every_layers_map_leads_to_it(family: str, tiny: Tiny) -> None:
    path = tiny(family, "Q4_0")
    with Model.open(path) as model, Runner(path, len(PROMPT), threads=1) as runner:
        linear = followed(model, PROMPT[:20])
        maps = LayerMaps(model.family, linear)
        theirs = runner.capture(PROMPT[:20], lambda name: name.startswith("l_out-"), all_positions=False)
        for layer in range(model.family.n_layer):
            state, given = linear.forward_pass.states[layer + 1], torch.from_numpy(theirs[f"l_out-{layer}"])
            assert (state - given).norm() < STATE * given.norm()
            for one in (maps.cumulative(layer), maps.cumulative(layer, "attn"), maps.layerwise(layer, "mlp")):
                assert one.reconstruction_error() < STATE
        (lens,) = maps.lens_logits(linear.output[None])
        assert (lens - linear.logits).abs().max() < LOGITS * linear.logits.std()


@pytest.mark.parametrize("family", WIDESPREAD)
def test_the_transpose_is_the_transpose(family: str, tiny: Tiny) -> None:
    generator = torch.Generator().manual_seed(3)
    with Model.open(tiny(family, "Q4_K_M")) as model:
        linear = followed(model, PROMPT[:9], torch.float64)
        d, n_tokens, _ = linear.shape
        x = torch.randn(3, n_tokens, d, generator=generator, dtype=torch.float64)
        y = torch.randn(3, d, generator=generator, dtype=torch.float64)
        forwards, backwards = (linear.matmat(x) * y).sum(), (linear.rmatmat(y) * x).sum()
        assert float(forwards) == pytest.approx(float(backwards), rel=1e-10)
        # in float64 what is left is llama.cpp's own arithmetic
        assert linear.reconstruction_error() < STATE


@pytest.mark.parametrize("ftype", TYPES)
def test_every_type_is_rounded_as_llama_cpp_rounds(ftype: str, tiny: Tiny) -> None:
    with Model.open(tiny("llama", ftype, n_layer=1)) as model:
        linear = judge(model, PROMPT[:12])
        assert (model.linearize(PROMPT[:12]).output - linear.output).norm() > 10 * STATE * linear.output.norm()


@pytest.mark.parametrize("family", ["gpt-oss", "qwen3moe"])
def test_experts_in_mxfp4(family: str, tiny: Tiny) -> None:
    with Model.open(tiny(family, "MXFP4_MOE")) as model:
        judge(model, PROMPT[:20])


def test_the_choice_of_experts_is_llama_cpps(tiny: Tiny) -> None:
    path = tiny("llama", "Q4_0", experts=4)
    with Model.open(path) as model, Runner(path, len(PROMPT), threads=1) as runner:
        run = judge(model, PROMPT).forward_pass.run
        assert isinstance(run, FollowedRun)
        theirs = runner.capture(PROMPT, lambda name: name.startswith("ffn_moe_topk-"), all_positions=False)
        for layer in range(model.family.n_layer):
            assert np.array_equal(run.recording.chosen[layer], theirs[f"ffn_moe_topk-{layer}"].astype(np.int64))


@pytest.mark.parametrize("cache", ["f16", "f32"])
@pytest.mark.parametrize("repack", [False, True])
@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_whatever_the_settings(family: str, cache: str, repack: bool, tiny: Tiny) -> None:
    if repack and multiplies_by_tiles(library().api):
        pytest.skip("llama.cpp's products by AMX crash; test_where_llama_cpp_multiplies_by_tiles asks for the refusal")
    with Model.open(tiny(family, "Q4_0")) as model:
        linear = judge(model, PROMPT[:12], cache=cache, repack=repack)
        other = followed(model, PROMPT[:12], cache="f32" if cache == "f16" else "f16", repack=repack)
        assert not torch.equal(linear.logits, other.logits)


def test_where_llama_cpp_multiplies_by_tiles(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ggufjac.llamacpp.library.multiplies_by_tiles", lambda _: True)
    with Model.open(tiny("llama", "Q4_0")) as model, pytest.raises(UserError, match=r"AMX .*leave out --repack"):
        followed(model, PROMPT[:12], repack=True)


@pytest.mark.parametrize("n_tokens", [1, 2])
@pytest.mark.parametrize("family", ["llama", "qwen3moe", "rwkv7", "mamba2"])
def test_the_shortest_prompts(family: str, n_tokens: int, tiny: Tiny) -> None:
    with Model.open(tiny(family, "Q8_0")) as model:
        judge(model, PROMPT[:n_tokens])


def test_operators_that_are_made_anew_follow_too(tiny: Tiny) -> None:
    with Model.open(tiny("olmo2", "Q4_0")) as model:
        ample = followed(model, PROMPT)
        tight = model.linearize(PROMPT, run="llama.cpp", threads=1, memory=1 << 20)
        assert torch.equal(ample.logits, tight.logits)
        deferred = [sum(isinstance(op, Deferred) for op in linear.forward_pass.layers) for linear in (ample, tight)]
        assert deferred[0] == 0 < deferred[1]
        y = ample.output[None]
        torch.testing.assert_close(tight.rmatmat(y), ample.rmatmat(y))


def test_the_other_path_of_the_gate_is_another_map_to_the_same_state(tiny: Tiny) -> None:
    with Model.open(tiny("llama", "Q8_0")) as model:
        up = followed(model, PROMPT[:9])
        gate = model.linearize(PROMPT[:9], path="gate", run="llama.cpp", threads=1)
        assert torch.equal(up.output, gate.output)
        assert gate.reconstruction_error() < STATE
        y = up.output[None]
        assert (up.rmatmat(y) - gate.rmatmat(y)).norm() > 0.05 * up.rmatmat(y).norm()


def test_a_run_of_other_values_cannot_be_followed(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that computes something else than llama.cpp is found out, and the message says where."""
    with Model.open(tiny("llama", "Q8_0")) as model:
        monkeypatch.setattr(model.family.layers[1].parts[0].part.branch.parts[0].part, "eps", 0.5)
        with pytest.raises(UserError, match=r"cannot be followed: what enters 'attn_v' in layer 1 differs from it by"):
            followed(model, PROMPT[:9])
