"""Files beside a model, and models of other kinds, are called what they are; what they hold is shown all the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import ggufjac
from ggufjac.analyses.inspect import inspect
from ggufjac.analyses.judge.verify import twin
from ggufjac.cli.main import run
from ggufjac.errors import UserError
from ggufjac.families import ARCHITECTURES, family_of
from ggufjac.llamacpp.run import Runner
from ggufjac.quants.native import dequantize
from ggufjac.reader import GGUFFile
from ggufjac.reader.expand import expand_f32
from ggufjac.reader.kinds import other_kind
from tinymodels import FAMILIES, Tiny, decoders

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def written(*names: str, arch: str | None = "llama", kind: str | None = None, vocabulary: bool = False) -> Path:
        """A file with tensors of these names; without an architecture where `arch` is None."""
        path = tmp_path / "file.gguf"
        writer = gguf.GGUFWriter(path, arch or "absent")
        if not arch:  # gguf does not write such files
            writer.kv_data[0]["general.architecture"].value = ""
        if arch is None:
            writer.kv_data[0].pop("general.architecture")
            writer.add_uint32("imatrix.chunk_count", 125)
        if kind is not None:
            writer.add_type(kind)
        if vocabulary:
            writer.add_token_list(["a", "b"])
        for name in names:
            writer.add_tensor(name, np.ones((4, 32), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return written


def refusal(path: Path) -> str:
    with GGUFFile.open(path) as file, pytest.raises(UserError) as caught:
        family_of(file)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("names", "arch", "kind", "words"),
    [
        (["blk.0.attn_q.weight.in_sum2", "blk.0.attn_q.weight.counts"], None, "imatrix", "an importance matrix"),
        (["blk.0.attn_q.weight.in_sum2"], None, None, "an importance matrix"),
        (["blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b"], "llama", None, "a LoRA adapter for llama"),
        (["x"], "gemma2", "adapter", "a LoRA adapter for gemma2, not a model; merge it .* with llama.cpp's llama-exp"),
        (["v.blk.0.attn_q.weight", "mm.0.weight"], "clip", "mmproj", "a projector of images or sounds .mmproj."),
        (["v.blk.0.attn_q.weight", "mm.0.weight"], "gemma3", None, "a projector of images or sounds"),
        (["direction.1", "direction.2"], "controlvector", None, "a control vector, as `ggufjac steer` writes them"),
        (["direction.1"], "llama", None, "a control vector"),
        (["token_embd.weight"], "nomic-bert", "model", "an embedding model"),
        (["enc.blk.0.attn_q.weight"], "t5", None, "an encoder and a decoder"),
        (["enc.blk.0.attn_q.weight"], "t5encoder", None, "an embedding model"),
        (["token_embd.weight"], "lfm2-bidir", None, "an embedding model"),
        (["enc.blk.0.attn_q.weight"], "other", None, "an encoder and a decoder"),
        (["token_embd.weight"], "wavtokenizer-dec", None, "a model of speech"),
        (["double_blocks.0.img_attn.qkv.weight"], "flux", None, "a diffusion model, which makes images"),
        (["double_blocks.0.img_attn.qkv.weight"], "pig2", None, "a diffusion model, which makes images"),
        (["token_embd.weight"], "llada", None, "a diffusion model of text"),
        (["token_embd.weight", "cls.output.weight"], "qwen3", None, "a model that rates texts"),
        (["fc.weight"], "eagle3", None, "a draft model's head"),
        (["x" * 80], "unheard-of", None, "names of more than 63 bytes.*probably a diffusion model"),
        ([], "llama", None, "a file without tensors"),
        (["x"], "llama", "vocab", "a vocabulary alone"),
    ],
)
def test_what_is_no_language_model_says_what_it_is(
    make: Make, names: list[str], arch: str | None, kind: str | None, words: str
) -> None:
    path = make(*names, arch=arch, kind=kind)
    found = refusal(path)
    assert found.startswith("this is ")
    assert re.search(words, found)
    with GGUFFile.open(path) as file:
        assert inspect(file).refusal == found


def pooling(path: Path, kind: int, *, tied: bool = False, name: str = "tiny", causal: bool | None = None) -> Path:
    """A tiny llama that says how a text becomes one vector."""
    tiny = Tiny("llama", FAMILIES["llama"].shape, 1)
    decoders.llama(tiny, tied=tied)
    tiny.kv("pooling_type", kind)
    tiny.kv("attention.causal", causal)
    tiny.raw("general.basename", name)
    return tiny.write(path)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (1, {"tied": True}, "an embedding model: .*llama.pooling_type is 1: of the states of a text their mean"),
        (
            3,
            {"tied": True},
            "an embedding model: .*is 3: .* the last one.; analyse the language model that it was made",
        ),
        (3, {"tied": True}, "if this one does predict tokens, .*`gguf-set-metadata FILE llama.pooling_type 0`"),
        (3, {"name": "qwen3-embedding"}, "an embedding model"),
        (4, {}, "a model that rates"),
        (4, {"tied": True}, "a model that rates"),
        (
            3,
            {"causal": False},
            r"an embedding model, or one that .*read those behind them .llama.attention.causal is fal",
        ),
        (0, {"causal": False, "tied": True}, "an embedding model, or one that fills in masked tokens"),
    ],
)
def test_a_language_model_that_became_another_kind(
    tmp_path: Path, kind: int, options: dict[str, Any], words: str
) -> None:
    """Qwen3-Embedding and the like: a llama.cpp that is told to goes on with them, and what comes means nothing."""
    assert re.search(words, refusal(pooling(tmp_path / "tiny.gguf", kind, **options)))


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_a_language_model_that_says_how_states_are_pooled_and_has_a_head(tmp_path: Path, kind: int) -> None:
    """Nothing else keeps it from being one, and llama.cpp's logits are those that are explained."""
    with ggufjac.open(pooling(tmp_path / "tiny.gguf", kind, causal=True)) as model:
        found = ggufjac.attribute(model, [1, 5, 6])
        (check,) = twin(model, [[1, 5, 6]]).checks
    assert any(f"pooling_type {kind}" in note and "what that predicts is explained" in note for note in found.notes)
    assert check.worst < 1e-4


def test_what_embedding_models_are_told_to_do_works(tmp_path: Path) -> None:
    path = pooling(tmp_path / "tiny.gguf", 3, tied=True)
    command = [sys.executable, "-m", "gguf.scripts.gguf_set_metadata", "--force", str(path), "llama.pooling_type", "0"]
    subprocess.run(command, check=True, capture_output=True)
    with GGUFFile.open(path) as file:
        assert family_of(file).notes == ()


def test_a_vocabulary_alone(make: Make) -> None:
    assert "a vocabulary alone, without weights" in refusal(make(vocabulary=True))


@pytest.mark.parametrize(
    ("arch", "words"),
    [
        ("gptoss", "Ollama's own form of gpt-oss, which llama.cpp cannot read either"),
        ("mllama", "Ollama's own form of Llama 3.2 Vision"),
        ("qwen4", r"'qwen4' is not supported .is it a kind of qwen"),
        ("", "general.architecture is empty, so that nobody can tell what model this is"),
        ("a\x1b[31mb", r"the architecture .*\\x1b\[31mb.* is not supported"),
    ],
)
def test_an_unknown_architecture(make: Make, arch: str, words: str) -> None:
    found = refusal(make("token_embd.weight", arch=arch))
    assert re.search(words, found)
    assert found.isprintable()


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_no_supported_architecture_is_something_else(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    tiny = Tiny(name, family.shape, 1)
    family.fill(tiny)
    assert name in ARCHITECTURES
    with GGUFFile.open(tiny.write(tmp_path / "tiny.gguf")) as file:
        assert other_kind(file) is None


def test_inspect_shows_what_is_no_model(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    path = make("blk.0.attn_q.weight.in_sum2", arch=None, kind="imatrix")
    assert run(["inspect", str(path), "--tensors"]) == 0
    printed = capsys.readouterr().out
    assert "no: this is an importance matrix" in printed
    assert "imatrix.chunk_count" in printed
    assert "blk.0.attn_q.weight.in_sum2" in printed
    assert run(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["facts"]["architecture"] == ""
    assert found["others"] == {"imatrix.chunk_count": "125", "general.type": "imatrix"}
    assert run(["analyze", str(path), "x"]) == 2
    assert "this is an importance matrix" in capsys.readouterr().err


def test_an_empty_tensor_is_no_harm(tmp_path: Path) -> None:
    tiny = Tiny("llama", FAMILIES["llama"].shape, 1)
    decoders.llama(tiny)
    tiny.tensor("__index_timestep_zero__", np.zeros(0, np.float32))
    path = tiny.write(tmp_path / "tiny.gguf")
    with GGUFFile.open(path) as file:
        assert file.tensors["__index_timestep_zero__"].n_weights == 0
        assert family_of(file).n_vocab == 320
        file.advise("__index_timestep_zero__", "willneed")
        expand_f32(file, tmp_path / "twin.gguf", dequantize)
    Runner(tmp_path / "twin.gguf", 256).close()
    with pytest.raises(
        UserError, match=r"wrong number of tensors.*\(it refuses a file with tensors that it has no use"
    ):
        Runner(path, 256)


@pytest.mark.parametrize("name", ["token_embd.weight", "blk.0.ffn_up.weight", "output_norm.weight"])
def test_a_tensor_that_is_needed_must_not_be_empty(tmp_path: Path, name: str) -> None:
    tiny = Tiny("llama", FAMILIES["llama"].shape, 1)
    decoders.llama(tiny)
    tiny._tensors[name] = tiny._tensors[name][:0]
    assert f"the tensor '{name}' is empty (0" in refusal(tiny.write(tmp_path / "tiny.gguf"))


def test_a_head_of_another_size(tmp_path: Path) -> None:
    tiny = Tiny("llama", FAMILIES["llama"].shape, 1)
    decoders.llama(tiny)
    tiny._tensors["output.weight"] = tiny._tensors["output.weight"][:300]
    path = tiny.write(tmp_path / "tiny.gguf")
    assert refusal(path).startswith("output.weight has 300 rows and the embeddings have 320; both need one for every")


def test_more_rows_than_tokens(tmp_path: Path) -> None:
    """Read here; llama.cpp refuses it, and the report says what its reason means."""
    tiny = Tiny("llama", FAMILIES["llama"].shape, 1)
    decoders.llama(tiny)
    for name in ("token_embd.weight", "output.weight"):
        tiny._tensors[name] = np.concatenate([tiny._tensors[name], tiny._tensors[name][:20]])
    path = tiny.write(tmp_path / "tiny.gguf")
    with GGUFFile.open(path) as file:
        assert family_of(file).n_vocab == 340
    with pytest.raises(UserError, match=r"has wrong shape.*\(it wants as many rows as the vocabulary has tokens\)"):
        Runner(path, 256)
