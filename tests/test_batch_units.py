"""Units of work: each once, with a key of all that its result depends on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from batches import HOW
from ggufjac.analyses.options import AnalysisOptions, BatchOptions
from ggufjac.batch.prompts import PromptLine
from ggufjac.batch.units import BatchModel, Unit, units_of
from ggufjac.chat.prompt import Message
from ggufjac.errors import UserError
from ggufjac.option import option
from ggufjac.reader import GGUFFile
from ggufjac.reader.fingerprint import fingerprint


class TestKeys:
    MODEL = BatchModel("m", "/m.gguf", "f")

    def test_the_key_is_of_all_that_matters_and_nothing_else(self) -> None:
        unit = Unit(PromptLine(1, "a"), self.MODEL, "analyze", HOW)
        for alike in (
            Unit(PromptLine(9, "a", extra='{"k": 1}'), self.MODEL, "analyze", HOW),
            Unit(PromptLine(1, "a"), BatchModel("n", "/elsewhere.gguf", "f"), "analyze", HOW),
        ):
            assert alike.key == unit.key
        others = (
            Unit(PromptLine(1, "b"), self.MODEL, "analyze", HOW),
            Unit(PromptLine(1, "a", "id"), self.MODEL, "analyze", HOW),
            Unit(PromptLine(1, "a", None, "t"), self.MODEL, "analyze", HOW),
            Unit(PromptLine(1, "[1]"), self.MODEL, "analyze", HOW),
            Unit(PromptLine(1, "a", answer="t"), self.MODEL, "analyze", HOW),
            Unit(PromptLine(1, "", messages=(Message("user", "a"),)), self.MODEL, "analyze", HOW),
            Unit(PromptLine(1, (1,)), self.MODEL, "analyze", HOW),
            Unit(PromptLine(1, "a"), BatchModel("m", "/m.gguf", "g"), "analyze", HOW),
            Unit(PromptLine(1, "a"), self.MODEL, "layers", HOW),
            Unit(PromptLine(1, "a"), self.MODEL, "analyze", BatchOptions(top=3, verify=False)),
        )
        assert len({unit.key, *(other.key for other in others)}) == 11

    def test_another_version_computes_anew(self, monkeypatch: pytest.MonkeyPatch) -> None:
        unit = Unit(PromptLine(1, "a"), self.MODEL, "analyze", HOW)
        before = unit.key
        monkeypatch.setattr("ggufjac.batch.units.__version__", "99")
        assert unit.key != before

    def test_one_model_under_two_names_is_one(self) -> None:
        copy = BatchModel("copy", "/copy.gguf", "f")
        assert len(units_of([PromptLine(1, "a")], [self.MODEL, copy], ["analyze", "layers"], HOW)) == 2

    def test_what_cannot_be_run(self) -> None:
        for analyses, how, word in (
            (["analyse"], HOW, "no analysis 'analyse'"),
            (["ordinary"], BatchOptions(run="llama.cpp"), "derivatives"),
            (["layers"], BatchOptions(dtype="bfloat16"), "bfloat16"),
        ):
            with pytest.raises(UserError, match=word):
                units_of([PromptLine(1, "a")], [self.MODEL], analyses, how)


def test_a_fingerprint_is_of_the_content(tiny_path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    raw = tiny_path.read_bytes()
    copy.write_bytes(raw)

    def printed(path: Path) -> str:
        with GGUFFile.open(path) as file:
            return fingerprint(file)

    first = printed(tiny_path)
    assert printed(copy) == first
    with GGUFFile.open(copy) as file:
        weights = file.tensors["blk.1.ffn_down.weight"]
        norm = file.tensors["output_norm.weight"]
    for place in (weights.offset, weights.offset + weights.nbytes // 3 + 5, norm.offset + norm.nbytes // 2):
        copy.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        assert printed(copy) != first
    copy.write_bytes(raw.replace("▁bridge".encode(), "▁Bridge".encode()))
    assert printed(copy) != first


def test_answers_go_to_analyses_that_know_them() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Said(AnalysisOptions):
        say: str | None = option(None, "what the model is to say")

    assert BatchOptions().of_analysis(Said, None, "Hello") == Said(say="Hello")
    assert BatchOptions().of_analysis(AnalysisOptions, None, "Hello") == AnalysisOptions()
