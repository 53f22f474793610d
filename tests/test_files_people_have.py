"""Files as people have them: keys that lie or are missing, towers, second scales, old forms, weights that are none."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import ggufjac
from ggufjac.analyses.common.records import to_plain
from ggufjac.analyses.inspect import inspect
from ggufjac.analyses.judge.verify import twin
from ggufjac.errors import UserError
from ggufjac.llamacpp.run import Runner
from ggufjac.llamacpp.vocab import Vocab
from ggufjac.maps.model import Model
from ggufjac.reader import GGUFFile
from tinymodels import FAMILIES, Tiny

IDS = [1, 5, 9, 17, 33, 12]


def tiny(family: str, change: Callable[[Tiny], None], path: Path, **options: object) -> Path:
    made = FAMILIES[family]
    t = Tiny(family, made.shape, 1)
    made.fill(t, **options)
    change(t)
    return t.write(path / "x.gguf")


def logits(path: Path) -> torch.Tensor:
    with Model.open(path) as model:
        return model.run(IDS, torch.float64).logits[-1]


def theirs(path: Path) -> torch.Tensor:
    with Runner(path, n_ctx=64) as runner:
        return torch.from_numpy(np.asarray(runner.logits(IDS))).double()


def agree(path: Path, within: float = 2e-3) -> None:
    ours, llama = logits(path), theirs(path)
    assert float((ours - llama).abs().max()) < within * float(llama.abs().max())


def stored(t: Tiny, name: str, packed: NDArray[np.uint8]) -> None:
    """Put packed rows in the place of a matrix, as bytes."""
    t._tensors[name] = packed.view(np.int8)  # type: ignore[assignment]


def typed(path: Path, name: str, n_in: int, number: int) -> None:
    """Say in a file that the bytes called `name` are rows of n_in weights of a type."""
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<Q", len(name)) + name.encode()) + 8 + len(name)
    (n_dims,) = struct.unpack_from("<I", data, at)
    struct.pack_into("<Q", data, at + 4, n_in)
    struct.pack_into("<I", data, at + 4 + 8 * n_dims, number)
    path.write_bytes(data)


def notes(path: Path) -> str:
    with GGUFFile.open(path) as file:
        found = inspect(file)
    assert found.refusal is None
    return "\n".join(found.notes)


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        Model.open(path).close()
    return str(caught.value)


# --- weights of several pieces --------------------------------------------------------------------------------


def test_second_scales_are_part_of_the_product(tmp_path: Path) -> None:
    def scaled(t: Tiny) -> None:
        for i in range(2):
            for k, name in enumerate(("attn_q", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")):
                t.tensor(f"blk.{i}.{name}.scale", np.array([0.4 + 0.3 * k + i]))
                t.tensor(f"blk.{i}.{name}.input_scale", np.array([7.0]))
        t.tensor("output.scale", np.array([0.6]))  # llama.cpp looks for it where the head is NVFP4
        codes = np.random.default_rng(3).integers(0, 256, (len(t._tensors["output.weight"]), 4, 36), dtype=np.uint8)
        codes[..., :4] = 0x28  # the scales of the block's four parts
        stored(t, "output.weight", codes.reshape(len(codes), -1))

    path = tiny("llama", scaled, tmp_path)
    typed(path, "output.weight", 256, 40)
    agree(path, 1e-2)  # llama.cpp rounds what enters such a head to 8 bits
    with Model.open(path) as model:
        linear = model.linearize(IDS, "float64")
        assert float((linear.reconstruction() - linear.output).norm()) < 1e-12 * float(linear.output.norm())


def test_experts_have_second_scales_of_their_own(tmp_path: Path) -> None:
    def scaled(t: Tiny) -> None:
        for k, name in enumerate(("gate", "up", "down")):
            t.tensor(f"blk.0.ffn_{name}_exps.scale", np.array([0.5, 1.5, 0.8, 2.0]) + 0.1 * k)

    agree(tiny("llama", scaled, tmp_path, experts=4))


def test_a_tensor_for_each_expert_is_the_same_model(tmp_path: Path) -> None:
    whole = logits(tiny("llama", lambda t: None, tmp_path, experts=4))

    def apart(t: Tiny) -> None:
        for i in range(2):
            for name in ("gate", "up", "down"):
                for e, matrix in enumerate(t._tensors.pop(f"blk.{i}.ffn_{name}_exps.weight")):
                    t.tensor(f"blk.{i}.ffn_{name}.{e}.weight", matrix)

    path = tiny("llama", apart, tmp_path, experts=4)
    assert torch.equal(logits(path), whole)
    assert "a tensor for every expert" in notes(path)


# --- what Ollama makes ----------------------------------------------------------------------------------------


def with_towers(t: Tiny) -> None:
    t.tensor("v.blk.0.attn_q.weight", np.ones((4, 4)))
    t.tensor("mm.input_projection.weight", np.ones((4, 4)))
    t.tensor("mtp.norm.weight", np.ones(4))


def test_towers_are_left_out_and_named(tmp_path: Path) -> None:
    plain = logits(tiny("gemma3", lambda t: None, tmp_path))
    path = tiny("gemma3", with_towers, tmp_path)
    assert torch.equal(logits(path), plain)
    assert "2 tensors of vision and 1 tensor of multi-token prediction left out" in notes(path)
    with Vocab.load(path) as vocab:  # its tokenizer does not look at tensors
        assert vocab.tokenize("the")
    with pytest.raises(UserError, match="cannot load"):
        theirs(path)
    with Model.open(path) as model:
        found = ggufjac.attribute(model, "the bridge")
        told = [note for note in found.notes if "only the text part" in note]
        assert len(told) == 1
        json.dumps(to_plain(found))


def test_a_copy_that_llama_cpp_refuses_is_called_by_its_models_name(tmp_path: Path) -> None:
    path = tiny("gemma3", with_towers, tmp_path)
    with Model.open(path) as model, pytest.raises(UserError) as caught:
        twin(model, [IDS], directory=tmp_path)
    assert str(caught.value).startswith(f"{path} (its float32 copy, with which ggufjac's values are to be compared): ")
    assert "tensors that it has no use for" in str(caught.value)
    assert "twin.gguf" not in str(caught.value)


def test_gemma3_of_ollama_gets_gemma3s_own_values(tmp_path: Path) -> None:
    def full(t: Tiny) -> None:
        t.kv("attention.layer_norm_rms_epsilon", 1e-6)
        t.kv("rope.freq_base", 1e6)
        t.kv("rope.scaling.factor", None)
        t.kv("rope.scaling.type", None)

    def bare(t: Tiny) -> None:
        full(t)
        t.kv("attention.layer_norm_rms_epsilon", None)
        t.kv("rope.freq_base", None)

    expected = logits(tiny("gemma3", full, tmp_path))
    path = tiny("gemma3", bare, tmp_path)
    assert torch.allclose(logits(path), expected, rtol=1e-6, atol=1e-6)  # the file's are float32
    assert "layer_norm_rms_epsilon (1e-06 is assumed), rope.freq_base (1e+06 is assumed)" in notes(path)


def test_qwen35_of_ollama(tmp_path: Path) -> None:
    plain = logits(tiny("qwen35", lambda t: None, tmp_path))

    def theirs_too(t: Tiny) -> None:
        for name in [name for name in t._tensors if name.endswith(".ssm_dt.bias")]:
            t.tensor(name.removesuffix(".bias"), t._tensors.pop(name))
        sections = t._values["qwen35.rope.dimension_sections"]
        assert isinstance(sections, list)
        t.kv("rope.dimension_sections", [int(n) for n in sections[:3]])
        t.tensor("mtp.norm.weight", np.ones(4))

    path = tiny("qwen35", theirs_too, tmp_path)
    assert torch.equal(logits(path), plain)


# --- keys that are missing, or lie ----------------------------------------------------------------------------


def test_a_missing_base_of_the_rotation_is_told(tmp_path: Path) -> None:
    def without(t: Tiny) -> None:
        t.kv("rope.freq_base", None)
        t.kv("context_length", 32768)

    path = tiny("qwen2", without, tmp_path)
    assert "no rope.freq_base: 10000 is taken" in notes(path)
    agree(path)

    def short(t: Tiny) -> None:
        t.kv("rope.freq_base", None)
        t.kv("context_length", 2048)

    assert notes(tiny("llama", short, tmp_path)) == ""


def test_bases_under_other_names_are_told(tmp_path: Path) -> None:
    def misnamed(t: Tiny) -> None:
        t.kv("rope.local.freq_base", 10000.0)
        t.kv("rope.global.freq_base", 1e6)

    assert "rope.local.freq_base, rope.global.freq_base" in notes(tiny("gemma3", misnamed, tmp_path))


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"rope.freq_base": 0.0}, "above 0"),
        ({"rope.freq_base": -10000.0}, "above 0"),
        ({"rope.freq_base": float("inf")}, "finite"),
        ({"rope.scaling.factor": -2.0}, "stretched by -2"),
        ({"rope.scaling.type": "llama3"}, "unknown rope.scaling.type"),
    ],
)
def test_rotations_that_are_none_are_refused(tmp_path: Path, keys: dict[str, float | str], told: str) -> None:
    def wrong(t: Tiny) -> None:
        for key, value in keys.items():
            t.kv(key, value)

    assert told in refusal(tiny("llama", wrong, tmp_path))


def test_a_stretch_of_zero_is_none_and_yarn_without_one_is_told(tmp_path: Path) -> None:
    def zero(t: Tiny) -> None:
        t.kv("rope.scaling.type", "linear")
        t.kv("rope.scaling.factor", 0.0)

    agree(tiny("llama", zero, tmp_path))

    def yarn(t: Tiny) -> None:
        t.kv("rope.scaling.type", "yarn")
        t.kv("rope.scaling.factor", None)

    path = tiny("llama", yarn, tmp_path)
    assert "no rope.scaling.factor" in notes(path)
    agree(path)


@pytest.mark.parametrize("family", ["llama", "glm4moe", "qwen35"])
def test_an_ordinary_block_is_not_taken_for_a_predictor(tmp_path: Path, family: str) -> None:
    def lying(t: Tiny) -> None:
        for name in [name for name in t._tensors if ".nextn." in name]:
            del t._tensors[name]
        t.kv("nextn_predict_layers", 1)

    said = refusal(tiny(family, lying, tmp_path))
    assert "nextn_predict_layers is 1" in said
    assert "has no nextn tensors" in said


# --- weights that are none ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    "name", ["token_embd.weight", "blk.0.ffn_down.weight", "blk.1.attn_norm.weight", "output.weight"]
)
def test_weights_that_are_no_numbers_are_found(tmp_path: Path, name: str, value: float) -> None:
    def poisoned(t: Tiny) -> None:
        t._tensors[name][..., 3] = value

    path = tiny("llama", poisoned, tmp_path)
    with Model.open(path) as model, pytest.raises(UserError, match=f"'{name}' has (nan|inf) in row 0, column 3"):
        model.linearize(IDS)


def test_a_scale_that_is_infinite_is_found(tmp_path: Path) -> None:
    path = tiny("llama", lambda t: t.pack("blk.1.ffn_up.weight", "Q4_0"), tmp_path)
    with GGUFFile.open(path) as file:
        offset = file.tensors["blk.1.ffn_up.weight"].offset
    data = bytearray(path.read_bytes())
    data[offset : offset + 2] = b"\x00\x7c"
    path.write_bytes(data)
    with Model.open(path) as model, pytest.raises(UserError, match=r"'blk\.1\.ffn_up\.weight' has -?(inf|nan)"):
        model.linearize(IDS)


def test_norms_of_states_whose_squares_overflow(tmp_path: Path) -> None:
    def large(t: Tiny) -> None:
        t._tensors["blk.1.ffn_down.weight"] *= 1e28

    with Model.open(tiny("llama", large, tmp_path)) as model, pytest.raises(UserError, match=r"last norm overflows"):
        model.linearize(IDS)


def test_states_that_overflow_are_told_from_bad_weights(tmp_path: Path) -> None:
    def huge(t: Tiny) -> None:
        t._tensors["blk.0.ffn_down.weight"] *= 1e38

    with Model.open(tiny("llama", huge, tmp_path)) as model:
        with pytest.raises(UserError, match="overflows float32"):
            model.linearize(IDS)
        assert torch.isfinite(model.linearize(IDS, "float64").logits).all()


def test_a_file_of_zeros_is_an_unfinished_download(tmp_path: Path) -> None:
    path = tiny("llama", lambda t: None, tmp_path)
    with GGUFFile.open(path) as file:
        start = min(info.offset for info in file.tensors.values())
    data = bytearray(path.read_bytes())
    data[start:] = bytes(len(data) - start)
    path.write_bytes(data)
    with Model.open(path) as model, pytest.raises(UserError, match="probably unfinished"):
        model.linearize(IDS)


def test_holes_in_a_file_are_told(tmp_path: Path) -> None:
    def holed(t: Tiny) -> None:
        t._tensors["blk.1.ffn_down.weight"][:] = 0

    with Model.open(tiny("llama", holed, tmp_path)) as model:
        assert any("blk.1.ffn_down.weight holds only zeros" in note for note in ggufjac.attribute(model, IDS).notes)

    def headless(t: Tiny) -> None:
        t._tensors["output.weight"][:] = 0

    empty = pytest.raises(UserError, match=r"'output\.weight' holds only zeros")
    with Model.open(tiny("llama", headless, tmp_path)) as model, empty:
        model.linearize(IDS)


# --- tokenizers and types -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new"), [(b"tokenizer.ggml.model", b"tokenizer.ggml.mobel"), (b"llama", b"frobn")])
def test_token_ids_need_no_tokenizer(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = tiny("llama", lambda t: None, tmp_path)
    data = path.read_bytes()
    at = data.index(old, data.index(b"tokenizer.ggml.model"))
    path.write_bytes(data[:at] + new + data[at + len(old) :])
    with Model.open(path) as model:
        found = ggufjac.attribute(model, IDS)
        assert any("no tokenizer" in note for note in found.notes)
        assert found.tokens[0].token.text == "<s>"
        with pytest.raises(UserError, match="only token ids"):
            ggufjac.attribute(model, "the bridge")
        with pytest.raises(UserError, match="only token ids"):
            ggufjac.answer(model, "the bridge")


@pytest.mark.parametrize("block", [64, 128])
def test_q2_0_is_llama_cpps_and_not_a_forks(tmp_path: Path, block: int) -> None:
    name, n_in = "blk.0.ffn_up.weight", 256
    rng = np.random.default_rng(5)
    scale = np.full((512, n_in // block, 1), 0.05, np.float16).view(np.uint8)
    codes = rng.integers(0, 256, (512, n_in // block, block // 4), dtype=np.uint8)
    rows = np.concatenate((scale, codes), -1).reshape(512, -1)
    path = tiny("llama", lambda t: stored(t, name, rows), tmp_path)
    typed(path, name, n_in, 42)
    if block == 64:
        agree(path, 1e-2)  # llama.cpp rounds what enters such a product to 8 bits
    else:
        assert "PrismML" in refusal(path)
