"""Which tokenizers llama.cpp runs is known without loading a vocabulary; tokenizing needs nothing else of a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gguf import GGUFWriter, TokenType

from ggufjac.analyses.inspect import inspect
from ggufjac.cli.main import run
from ggufjac.errors import UserError
from ggufjac.llamacpp.barevocab import _bytes_of_characters
from ggufjac.llamacpp.tokenizers import BPE, WORDS, is_usual
from ggufjac.llamacpp.vocab import Vocab
from ggufjac.maps.model import Model
from ggufjac.reader import GGUFFile
from tinymodels import make


def vocabulary(path: Path, pre: str, *, merges: bool = True, types: int = 257) -> Path:
    """A byte-level vocabulary that cuts a text into words as `pre` names it."""
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model(BPE)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([*_bytes_of_characters(), "he"])
    writer.add_token_types([TokenType.NORMAL] * types)
    if merges:
        writer.add_token_merges(["h e"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("pre", sorted(WORDS))
def test_llama_cpp_runs_every_tokenizer_that_is_known(tmp_path: Path, pre: str) -> None:
    path = vocabulary(tmp_path / "x.gguf", pre)
    with GGUFFile.open(path) as file:
        assert is_usual(file)
    with Vocab.load(path) as vocab:
        assert vocab.tokenize("he", add_special=False) == [256]


@pytest.mark.parametrize("unusual", [{"pre": "frobn"}, {"merges": False}, {"types": 3}])
def test_of_others_llama_cpp_is_asked(tmp_path: Path, unusual: dict[str, object]) -> None:
    path = vocabulary(tmp_path / "x.gguf", **{"pre": "qwen2", **unusual})  # type: ignore[arg-type]
    with GGUFFile.open(path) as file:
        assert not is_usual(file)


def test_inspect_does_not_load_a_vocabulary_that_is_as_usual(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(path: Path) -> Vocab:
        raise AssertionError(f"{path} was loaded")

    monkeypatch.setattr(Vocab, "load", load)
    with GGUFFile.open(tiny_path) as file:
        assert inspect(file).notes == ()


def test_inspect_says_that_there_is_no_tokenizer(tmp_path: Path) -> None:
    path = make("llama", tmp_path / "x.gguf")
    data = path.read_bytes()
    at = data.index(b"llama", data.index(b"tokenizer.ggml.model"))
    path.write_bytes(data[:at] + b"frobn" + data[at + 5 :])
    with GGUFFile.open(path) as file:
        (note,) = inspect(file).notes
    assert "unknown tokenizer: 'frobn'" in note


def tokenized(path: Path, capsys: pytest.CaptureFixture[str]) -> list[int]:
    assert run(["tokenize", str(path), "the bridge", "--json"]) == 0
    return [token["id"] for token in json.loads(capsys.readouterr().out)["tokens"]]


@pytest.mark.parametrize("key", ["rope.freq_base", "attention.head_count", "block_count"])
def test_tokenizing_needs_nothing_but_the_vocabulary(
    tiny: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    path = make("llama", tmp_path / "x.gguf")
    data = bytearray(path.read_bytes())
    at = data.index(f"llama.{key}".encode()) + len(f"llama.{key}") + 4
    data[at : at + 4] = bytes(4)
    path.write_bytes(data)
    with pytest.raises(UserError):
        Model.open(path).close()
    assert tokenized(path, capsys) == tiny.tokenize("the bridge")


def test_a_vocabulary_alone_has_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 256 in tokenized(vocabulary(tmp_path / "x.gguf", "qwen2"), capsys)


def test_what_has_no_vocabulary_is_called_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_type("adapter")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert run(["tokenize", str(tmp_path / "x.gguf"), "the"]) == 2
    assert "this is a LoRA adapter" in capsys.readouterr().err
