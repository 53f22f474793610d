"""Batches: every unit once, whatever happens in between; what is recorded is what the analysis says."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import ggufjac
from conftest import IDS, PATIENCE, printed
from ggufjac.analyses.analyze import Analysis
from ggufjac.analyses.answer.answering import answer
from ggufjac.analyses.attribute import attribute
from ggufjac.analyses.common.result import Result
from ggufjac.analyses.options import AnalysisOptions, AnswerOptions, AttributeOptions, BatchOptions
from ggufjac.analyses.table import load
from ggufjac.batch.headline import headline
from ggufjac.batch.prompts import PromptLine, read_prompts
from ggufjac.batch.run import run_batch, sources
from ggufjac.batch.sheet import csv_of
from ggufjac.batch.store import DATABASE, LOCK, RESULTS, reading, writing
from ggufjac.batch.summary import summary_of
from ggufjac.batch.units import BatchModel, Unit, units_of
from ggufjac.chat.prompt import Message
from ggufjac.cli.main import parse, run
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.option import option
from ggufjac.reader import GGUFFile
from ggufjac.reader.fingerprint import fingerprint
from ggufjac.reports.tables.batch import report
from tinymodels import make

PROMPTS = ("The bridge", "out", "and the bridge is", "in the", "idge")
HOW = BatchOptions(top=2, verify=False)
#: A chat template that adds nothing of its own but the role.
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}"
#: What two runs of the same units do not share.
OF_THE_RUN = {"seconds", "finished", "file", "bytes"}


@pytest.fixture(scope="module")
def other_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("gemma3", tmp_path_factory.mktemp("other") / "gemma.gguf", n_layer=2)


@pytest.fixture(scope="module")
def units(tiny_path: Path, other_path: Path) -> tuple[Unit, ...]:
    lines = [PromptLine(i, text) for i, text in enumerate(PROMPTS, 1)]
    return units_of(lines, sources([tiny_path, other_path]), ["analyze"], HOW)


@pytest.fixture(scope="module")
def whole(units: Sequence[Unit], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "results"
    summary = run_batch(folder, units)
    assert (summary.done, summary.failed, summary.pending) == (10, 0, 0)
    return folder


def rows(folder: Path) -> list[dict[str, Any]]:
    with reading(folder) as store:
        return [{name: row[name] for name in row.keys() if name not in OF_THE_RUN} for row in store.rows()]  # noqa: SIM118


def facts(result: Result) -> dict[str, Any]:
    return {name: value for name, value in result.to_dict().items() if name != "seconds"}


def same(one: Path, other: Path) -> None:
    """The same rows in the same order, one file for each and no other, and the same in every file."""
    assert rows(one) == rows(other)
    names = [row["result"] for row in rows(one) if row["result"] is not None]
    assert len(set(names)) == len(names)
    for folder in (one, other):
        assert sorted(p.name for p in folder.iterdir()) == [DATABASE, RESULTS]
        assert {f"{RESULTS}/{p.name}" for p in (folder / RESULTS).iterdir()} == set(names)
    for name in names:
        a, b = load(one / name), load(other / name)
        assert facts(a) == facts(b)
        for array in a.arrays:
            assert torch.equal(a.arrays[array], b.arrays[array]), array


class TestPrompts:
    def test_lines_are_prompts_as_they_stand(self, tmp_path: Path) -> None:
        path = tmp_path / "prompts.txt"
        path.write_bytes("\ufeff one \r\n\r\n\u2028two\x0bthree\n one \n".encode())
        assert read_prompts(path) == (PromptLine(1, " one "), PromptLine(3, "\u2028two\x0bthree"))

    def test_json_lines_have_ids_and_targets(self, tmp_path: Path) -> None:
        path = tmp_path / "prompts.jsonl"
        path.write_text(
            '{"prompt": "a\\nb", "id": 7}\n\n{"prompt": [1, 5], "target": " x"}\n{"prompt": "c", "target": 12}\n'
            '{"id": "7", "prompt": "a\\nb"}\n{"prompt": "a\\nb"}\n'
        )
        assert read_prompts(path) == (
            PromptLine(1, "a\nb", "7"),
            PromptLine(3, (1, 5), None, " x"),
            PromptLine(4, "c", None, "#12"),
            PromptLine(6, "a\nb"),
        )

    @pytest.mark.parametrize(
        ("text", "word"),
        [
            ('{"prompt": "a"}\n{"prompt": "b"', "line 2: this is no JSON"),
            ('{"prompt": "a"}\n\n["b"]', "line 3: this is no JSON object"),
            ('{"promt": "a"}', "line 1: there is no field 'promt'; did you mean 'prompt'?"),
            ('{"a": "b", "c": "d"}', "line 1: the prompt is missing; name the column with --column, of a, c"),
            ('{"messages": []}', "line 1: the messages is []"),
            ('{"messages": [{"role": "user"}]}', "line 1, message 1: the content is"),
            ('{"prompt": "a", "answer": ["b"]}', "line 1: answer is"),
            ('{"id": "a"}', "line 1: the prompt is missing"),
            ('{"prompt": ""}', "line 1: the prompt is empty"),
            ('{"prompt": [1, "a"]}', 'line 1: the prompt is [1, "a"]; it must be a text, a list of token ids, or a'),
            ('{"prompt": [true]}', "line 1: the prompt is"),
            ('{"prompt": "a", "target": ["b"]}', "line 1: target is"),
            ('{"prompt": "\\ud800"}', "line 1: "),
            ('{"prompt": "a", "id": "\\ud800"}', "line 1: "),
            ('{"prompt": "a", "id": 1}\n{"prompt": "b", "id": "1"}', "line 2: the id '1' is that of line 1"),
            ("[" * 100_000, "line 1: this is no JSON"),
            ("\n\n", "holds no prompt"),
        ],
    )
    def test_bad_lines_are_named(self, tmp_path: Path, text: str, word: str) -> None:
        path = tmp_path / "prompts.jsonl"
        path.write_text(text)
        with pytest.raises(UserError) as refused:
            read_prompts(path)
        assert word in str(refused.value)
        assert "\n" not in str(refused.value)

    def test_chats_answers_and_what_stands_beside_them(self, tmp_path: Path) -> None:
        path = tmp_path / "prompts.jsonl"
        path.write_text(
            '{"messages": [{"role": "user", "content": "Hi"}], "answer": "Hello", "lang": "en", "n": 2}\n'
            '{"prompt": "a", "label": "x"}\n{"prompt": "a", "label": "y"}\n'
        )
        chat, plain = read_prompts(path)
        assert (chat.prompt, chat.messages, chat.answer) == ("", (Message("user", "Hi"),), "Hello")
        assert json.loads(chat.extra) == {"lang": "en", "n": 2}
        assert plain == PromptLine(2, "a", extra='{"label": "x"}')  # the first one of two that are alike counts

    def test_a_json_array(self, tmp_path: Path) -> None:
        path = tmp_path / "prompts.json"
        path.write_text('["one", {"text": "two", "k": 1}, [3, 4], [{"role": "user", "content": "Hi"}]]')
        one, two, three, four = read_prompts(path)
        assert (one.line, one.prompt, two.prompt, three.prompt) == (1, "one", "two", (3, 4))
        assert two.extra == '{"k": 1}'
        assert four.messages == (Message("user", "Hi"),)
        path.write_text('{"prompt": "one"}')
        with pytest.raises(UserError, match="no JSON array"):
            read_prompts(path)

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("a.csv", 'question,label,target\n"One, two",x," Paris"\n\nThree,,\n'),
            ("a.csv", "question;label;target\r\nOne, two;x; Paris\r\nThree;;\r\n"),
            ("a.tsv", "question\tlabel\ttarget\nOne, two\tx\t Paris\nThree\t\t\n"),
        ],
    )
    def test_tables(self, tmp_path: Path, name: str, text: str) -> None:
        path = tmp_path / name
        path.write_bytes(text.encode())
        first, second = read_prompts(path)
        assert (first.line, first.prompt, first.target, first.extra) == (2, "One, two", " Paris", '{"label": "x"}')
        assert (second.prompt, second.target, second.extra) == ("Three", None, '{"label": ""}')
        with pytest.raises(UserError, match=r"line [34]: the label is empty"):
            read_prompts(path, "label")

    def test_a_prompt_may_have_lines_and_a_chat_a_cell(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text('id,messages\n1,"[{""role"": ""user"", ""content"": ""a\\nb""}]"\n')
        (line,) = read_prompts(path)
        assert (line.id, line.messages) == ("1", (Message("user", "a\nb"),))
        path.write_text('mine\n"a\nb"\nc\n')
        assert read_prompts(path) == (PromptLine(2, "a\nb"), PromptLine(4, "c"))

    @pytest.mark.parametrize(
        ("name", "text", "column", "word"),
        [
            ("a.csv", "a,b\n1,2\n", None, "line 2: the prompt is missing; name the column with --column, of a, b"),
            ("a.csv", "a,b\n1,2\n", "c", "line 2: there is no 'c'; there are a, b"),
            ("a.csv", "promt\n1\n", None, "did you mean 'prompt'?"),
            ("a.csv", "prompt,prompt\n1,2\n", None, "two columns are called 'prompt'"),
            ("a.csv", "prompt\n1,2\n", None, "line 2: there are 2 cells, and 1 columns have a name"),
            ("a.csv", 'prompt\n"a\n', None, "line 2: this is no row of a table"),
            ("a.csv", "prompt\n", None, "holds no prompt"),
            ("a.txt", "a\n", "prompt", "lines of text have no columns"),
        ],
    )
    def test_bad_tables_are_named(self, tmp_path: Path, name: str, text: str, column: str | None, word: str) -> None:
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(UserError) as refused:
            read_prompts(path, column)
        assert word in str(refused.value)

    def test_bad_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / "prompts.txt"
        path.write_bytes(b"abc\xff")
        with pytest.raises(UserError, match=r"not UTF-8.*byte 3"):
            read_prompts(path)


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


def test_what_is_recorded_is_what_the_analysis_says(whole: Path, units: Sequence[Unit], tiny: Model) -> None:
    found = rows(whole)
    assert [row["key"] for row in found] == [unit.key for unit in units]
    assert [row["prompt"] for row in found] == [*PROMPTS, *PROMPTS]
    assert {row["model"] for row in found} == {"llama.gguf", "gemma.gguf"}
    for row in found[:5]:
        linear = tiny.linearize(row["prompt"])
        assert row["status"] == "done"
        assert row["prediction_id"] == int(linear.logits.argmax())
        assert row["logit"] == pytest.approx(float(linear.logits.max()))
        assert row["probability"] == pytest.approx(float(linear.logits.softmax(-1).max()))
        assert row["n_tokens"] == len(linear.tokens)
        assert row["reconstruction"] < 1e-5
        assert row["verdict"] is None
        saved = load(whole / row["result"])
        assert isinstance(saved, Analysis)
        assert saved.prompt == row["prompt"]
        assert torch.equal(saved.arrays["logits"], linear.logits)
        assert saved.combined_stable_rank == row["stable_rank"]
        assert len(saved.combined) == 2


def test_every_analysis_runs_and_asks_llama_cpp_if_it_may(tiny_path: Path, tmp_path: Path) -> None:
    prompts = [PromptLine(1, "The bridge", "b", "#42"), PromptLine(2, (1, 300, 17))]
    kinds = {
        "analyze": "analysis",
        "layers": "layers",
        "attribute": "attribution",
        "ordinary": "ordinary",
        "extremes": "extremes",
        "ablate": "ablation",
    }
    summary = run_batch(tmp_path / "out", units_of(prompts, sources([tiny_path]), list(kinds), BatchOptions(top=2)))
    assert summary.done == 12, summary.failures
    for row in rows(tmp_path / "out"):
        result = load(tmp_path / "out" / row["result"])
        assert result.kind == kinds[row["analysis"]]
        assert row["verdict"] == ("MATCH" if row["analysis"] == "analyze" else None)
        # rounding alone, which may happen to be none; the usual rules of `attribute` do not reconstruct
        assert 0 <= row["reconstruction"] < 1e-4
    with reading(tmp_path / "out") as store:
        explained = load(tmp_path / "out" / store.rows()[0]["result"])
    assert isinstance(explained, Analysis)
    assert explained.target.token.id == 42
    assert summary.groups[0].verdicts == {"MATCH": 2}


def test_rows_say_what_one_would_filter_by(tiny: Model, tiny_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    lines = [PromptLine(1, "The bridge out of", target="#42", extra='{"label": "x", "line": 7}'), PromptLine(2, "out")]
    kinds = ["analyze", "attribute", "layers", "ordinary", "ablate", "extremes"]
    units = units_of(lines, sources([tiny_path]), kinds, BatchOptions(top=2, verify=False))
    run_batch(folder, units)
    found = {(row["line"], row["analysis"]): row for row in rows(folder)}
    for kind in kinds[:-1]:
        row, saved = found[1, kind], load(folder / found[1, kind]["result"])
        target = saved.questions[0].target if kind == "attribute" else saved.target
        assert (row["explained"], row["explained_rank"]) == (target.token.text, target.rank)
        assert row["explained_probability"] == pytest.approx(target.probability)
        assert row["text"] == "The bridge out of"
        terms = [abs(row[f"term{i}"]) for i in (1, 2, 3) if row[f"term{i}"] is not None]
        assert terms == sorted(terms, reverse=True)
        assert terms
        assert all(row[f"source{i}"] for i in range(1, 1 + len(terms)))
    assert found[1, "extremes"]["explained"] is None
    attributed = load(folder / found[1, "attribute"]["result"])
    account = attributed.accounts[0]
    words = {w.text: sum(account.terms[w.start : w.stop]) for w in attributed.words}
    first = found[1, "attribute"]
    assert first["term1"] == pytest.approx(words[first["source1"]])

    # what changes no result may change, and nothing is computed for it
    again = units_of(
        [replace(lines[0], extra='{"label": "y"}')], sources([tiny_path]), kinds, BatchOptions(top=2, verify=False)
    )
    before = {row["key"]: row["finished"] for row in everything(folder)}
    run_batch(folder, again)
    assert {row["key"]: row["finished"] for row in everything(folder)} == before
    assert {row["extra"] for row in rows(folder) if row["line"] == 1} == {'{"label": "y"}'}


def everything(folder: Path) -> list[sqlite3.Row]:
    with reading(folder) as store:
        return store.rows()


def test_rows_as_csv(whole: Path) -> None:
    stored = everything(whole)
    found = list(csv.DictReader(io.StringIO(csv_of(stored), newline="")))
    assert [row["prompt"] for row in found] == [*PROMPTS, *PROMPTS]
    assert float(found[0]["probability"]) == pytest.approx(stored[0]["probability"])
    assert not {"key", "bytes", "extra"} & found[0].keys()
    assert len(list(csv.DictReader(io.StringIO(csv_of(stored, {stored[2]["key"]}), newline="")))) == 1
    assert csv_of([]) == "\n"


def test_extra_fields_are_columns_of_a_csv(tiny_path: Path, tmp_path: Path) -> None:
    prompts, out = tmp_path / "p.csv", tmp_path / "rows.csv"
    prompts.write_text('prompt,label,status\nThe bridge,"a, b",mine\nout,,\n')
    words = [str(prompts), str(tiny_path), "--out", str(tmp_path / "out"), "--analysis", "attribute", "--fast"]
    assert run(["run", *words, "--csv", str(out)]) == 0
    with open(out, newline="", encoding="utf-8") as opened:
        first, second = csv.DictReader(opened)
    assert (first["label"], first["extra.status"], first["status"]) == ("a, b", "mine", "done")
    assert (second["label"], second["prompt"]) == ("", "out")
    told = tmp_path / "again.csv"
    assert run(["run", "--status", str(tmp_path / "out"), "--csv", str(told)]) == 0
    assert told.read_bytes() == out.read_bytes()


def test_a_chat_is_read_by_the_models_own_template(tmp_path: Path) -> None:
    path = make("llama", tmp_path / "chat.gguf", texts={"tokenizer.chat_template": TEMPLATE})
    prompts = tmp_path / "p.jsonl"
    prompts.write_text('{"messages": [{"role": "user", "content": "The bridge"}]}\n')
    folder = tmp_path / "out"
    run_batch(folder, units_of(read_prompts(prompts), sources([path]), ["attribute"], BatchOptions(fast=True)))
    (row,) = rows(folder)
    assert (row["status"], row["text"]) == ("done", "user: The bridge")
    assert json.loads(row["prompt"]) == [{"role": "user", "content": "The bridge"}]


def test_answers_go_to_analyses_that_know_them() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Said(AnalysisOptions):
        say: str | None = option(None, "what the model is to say")

    assert BatchOptions().of_analysis(Said, None, "Hello") == Said(say="Hello")
    assert BatchOptions().of_analysis(AnalysisOptions, None, "Hello") == AnalysisOptions()


def test_a_table_of_an_older_version_grows(whole: Path, units: Sequence[Unit], tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(whole, folder)
    with sqlite3.connect(folder / DATABASE) as old:
        for name in ("answer", "extra", "text", "source1", "term3"):
            old.execute(f"ALTER TABLE units DROP COLUMN {name}")
        old.execute("PRAGMA user_version = 1")
    old.close()
    with writing(folder) as store:
        assert not store.plan(units)
        assert {"answer", "extra", "text", "source1", "term3"} <= set(store.rows()[0].keys())


def test_a_model_is_opened_once(units: Sequence[Unit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    plain = Model.open
    monkeypatch.setattr(Model, "open", lambda path: opened.append(path) or plain(path))
    run_batch(tmp_path / "out", units)
    assert sorted(opened) == sorted({unit.model.path for unit in units})


def test_a_second_run_computes_only_what_is_missing(
    units: Sequence[Unit], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, told = tmp_path / "out", []
    run_batch(folder, units[:4])
    with reading(folder) as store:
        first, second, third, fourth = [folder / row["result"] for row in store.rows()]
    before = first.stat().st_ino, second.stat().st_ino
    third.unlink()
    fourth.write_bytes(fourth.read_bytes()[:-1])
    run_batch(folder, units, told=lambda unit, done, total: told.append((unit and unit.key, done, total)))
    assert told == [(None, 2, 10), *((unit.key, n, 10) for n, unit in enumerate(units[2:], 3))]
    assert (first.stat().st_ino, second.stat().st_ino) == before
    same(folder, whole)
    monkeypatch.setattr("ggufjac.batch.compute.Sessions.attempt", None)  # nothing is left to compute
    assert run_batch(folder, units).done == 10


def test_a_failure_is_recorded_and_tried_again(
    tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "p.jsonl"
    lines.write_text('{"prompt": "a"}\n{"prompt": "b", "id": "bad [x]", "target": "#999999"}\n{"prompt": "c"}\n')
    arguments = ["run", str(lines), str(tiny_path), "--out", str(tmp_path / "out"), "--top", "2", "--no-verify"]
    assert run(arguments) == 1
    shown = capsys.readouterr()
    assert "2 done" in shown.out
    assert "1 failed" in shown.out
    assert "no token 999999" in shown.out
    assert shown.err == ""
    found = rows(tmp_path / "out")
    assert [row["status"] for row in found] == ["done", "failed", "done"]
    assert "no token 999999" in found[1]["error"]
    assert found[1]["result"] is None
    assert run(["run", "--status", str(tmp_path / "out"), "--json", "-"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["done"], told["failed"], told["pending"]) == (2, 1, 0)
    assert told["failures"][0]["line"] == 2
    lines.write_text('{"prompt": "a"}\n{"prompt": "b", "id": "bad [x]"}\n{"prompt": "c"}\n')
    assert run(arguments) == 0
    assert "3 done" in capsys.readouterr().out


def test_a_fault_in_a_unit_is_recorded_and_the_run_goes_on(
    units: Sequence[Unit],
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from ggufjac.analyses import analyze

    plain, calls = analyze.analyze, []

    def breaking(*args: Any, **more: Any) -> Analysis:
        calls.append(args)
        if len(calls) in (4, 6):
            raise ZeroDivisionError("\x1b[31mnobody has thought of this")
        return plain(*args, **more)

    folder = tmp_path / "out"
    with monkeypatch.context() as broken:
        broken.setattr(analyze, "analyze", breaking)
        summary = run_batch(folder, units)
    assert (summary.done, summary.failed, summary.pending) == (8, 2, 0)
    assert "\x1b" not in printed(report(summary), 120)
    failed = [row for row in rows(folder) if row["status"] == "failed"]
    for row in failed:
        assert row["error"].startswith("ZeroDivisionError: \x1b[31mnobody has thought of this (a fault of ggufjac")
        assert "in breaking" in row["traceback"]
    assert run(["run", "--status", str(folder)]) == 1
    assert "2 failed" in capsys.readouterr().out
    assert run_batch(folder, units).failed == 0
    assert not any(row["traceback"] for row in rows(folder))
    same(folder, whole)


def test_a_result_without_a_headline_is_a_failure_of_its_unit(
    units: Sequence[Unit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("ggufjac.batch.run.headline", lambda result: 1 / 0)
        assert run_batch(tmp_path / "out", units[:2]).failed == 2
    assert run_batch(tmp_path / "out", units[:2]).done == 2


#: Runs the command line, and kills its own process at the n-th time that it comes to a point.
DYING = """
import os, signal, sys
from ggufjac.batch.store import Store
from ggufjac.cli.main import run

point, n = sys.argv[1], int(sys.argv[2])
left = [n]

def step():
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)

replace, record, update = os.replace, Store.record, Store._update

def replacing(source, target):
    if point == "file":
        step()
    replace(source, target)

def recording(self, *args):
    if point == "row":
        step()
    record(self, *args)

def updating(self, unit, columns):
    if point == "transaction":
        self._connection.execute("UPDATE units SET status = 'done', result = 'nowhere'")
        step()
        self._connection.rollback()
    update(self, unit, columns)

os.replace, Store.record, Store._update = replacing, recording, updating
sys.exit(run(sys.argv[3:]))
"""


def test_a_killed_run_goes_on_with_nothing_lost_or_doubled(
    tiny_path: Path, other_path: Path, whole: Path, tmp_path: Path
) -> None:
    folder, lines = tmp_path / "out", tmp_path / "prompts.txt"
    lines.write_text("\n".join(PROMPTS))
    arguments = ["run", lines, tiny_path, other_path, "--out", folder, "--top", "2", "--no-verify"]
    arguments += ["--threads", str(torch.get_num_threads())]  # torch's own last digits depend on it
    done = 0
    for point, n in (("file", 3), ("row", 2), ("transaction", 2)):
        child = subprocess.run(
            [sys.executable, "-c", DYING, point, str(n), *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert child.returncode == -signal.SIGKILL, child.stderr
        assert (folder / LOCK).exists()
        with reading(folder) as store:
            summary = summary_of(store.rows(), "out")
        done += n - 1
        assert (summary.done, summary.pending) == (done, 10 - done), point
    assert len(list((folder / RESULTS).iterdir())) > done  # what the kills have left
    (folder / RESULTS / "notes.txt").write_text("somebody's own")
    assert run([str(argument) for argument in arguments]) == 0
    (folder / RESULTS / "notes.txt").unlink()
    same(folder, whole)


def test_two_runs_at_once_do_not_meet(
    units: Sequence[Unit], whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"

    def second(unit: Unit | None, done: int, total: int) -> None:
        with pytest.raises(UserError, match=rf"written by another process .{os.getpid()} on "):
            run_batch(folder, units)
        with reading(folder) as store:  # to look is allowed
            assert summary_of(store.rows(), "out").done == done

    run_batch(folder, units, told=second)
    same(folder, whole)


@pytest.mark.parametrize(
    "said", ["", "1 another-host", f"{os.getpid()} {socket.gethostname()}"], ids=["", "other", "own"]
)
def test_a_lock_that_nobody_holds_is_none(units: Sequence[Unit], tmp_path: Path, said: str) -> None:
    """Whoever it names, and whether such a process lives: the first one of a container always does."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / LOCK).write_text(said)
    assert run_batch(folder, units[:1]).done == 1


def test_folders_that_hold_something_else(units: Sequence[Unit], tmp_path: Path) -> None:
    full, file, broken = tmp_path / "full", tmp_path / "file", tmp_path / "broken"
    full.mkdir()
    (full / "letter.txt").write_text("dear")
    file.write_text("")
    broken.mkdir()
    (broken / DATABASE).write_text("no database at all, whatever its name is" * 100)
    for folder, word in ((full, "holds other things"), (file, "cannot be used"), (broken, "cannot be used")):
        with pytest.raises(UserError, match=word):
            run_batch(folder, units)
    assert [path.name for path in full.iterdir()] == ["letter.txt"]
    for folder in (full, file, tmp_path / "none"):
        with pytest.raises(UserError, match="no folder of results"), reading(folder):
            pass
    with writing(tmp_path / "new"):
        pass
    with sqlite3.connect(tmp_path / "new" / DATABASE) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(UserError, match="another version"):
        run_batch(tmp_path / "new", units)


def test_pending_units_of_an_older_version_are_forgotten(
    units: Sequence[Unit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        for name in ("units", "store"):
            older.setattr(f"ggufjac.batch.{name}.__version__", "0.0.1")
        run_batch(tmp_path / "out", units[:1])
        with writing(tmp_path / "out") as store:
            store.plan(units[:3])
    assert run_batch(tmp_path / "out", units[:3]).done == 3
    assert [(row["version"], row["status"]) for row in rows(tmp_path / "out")] == [
        ("0.0.1", "done"),
        *[(ggufjac.__version__, "done")] * 3,
    ]


def test_a_model_that_changes_underway_is_noticed(tiny_path: Path, other_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "changing.gguf"
    path.write_bytes(tiny_path.read_bytes())
    planned = units_of([PromptLine(1, "a")], sources([path]), ["analyze"], HOW)
    path.write_bytes(other_path.read_bytes())
    (failure,) = run_batch(tmp_path / "out", planned).failures
    assert "not the one that the run began with" in failure.error


def test_where_words_may_stand_and_what_is_missing(tiny_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(["run", "p", "m", "--out", "f", "n"]).words == ["p", "m", "n"]
    assert parse(["run", "p", "m", "--out", "f", "--analysis", "layers", "--analysis", "ablate"]).analysis == [
        "layers",
        "ablate",
    ]
    for arguments, word in (
        (["p.jsonl", str(tiny_path)], "a run needs prompts, models and a folder"),
        (["--out", "f"], "a run needs"),
        (["--status", "f", "p"], "only tells"),
        (["--status", "/no/such"], "no folder of results"),
        (["/no/such.jsonl", str(tiny_path), "--out", "f"], "cannot be read"),
    ):
        assert run(["run", *arguments]) == 2
        told = capsys.readouterr().err
        assert word in told
        assert len(told.strip().splitlines()) == 1


@pytest.mark.parametrize("width", [50, 80, 110])
def test_the_report_fits(whole: Path, width: int) -> None:
    with reading(whole) as store:
        summary = summary_of(store.rows(), "out")
    shown = printed(report(summary), width)
    assert max(map(len, shown.splitlines())) <= width
    assert "10 done" in shown


class TestCluster:
    """dask.distributed computes the same units."""

    @pytest.fixture(autouse=True)
    def _installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("distributed", reason="dask.distributed is not installed: pip install distributed")
        monkeypatch.setattr("ggufjac.batch.distributed.PATIENCE", PATIENCE)

    def test_a_dead_worker_loses_and_doubles_nothing(self, units: Sequence[Unit], whole: Path, tmp_path: Path) -> None:
        import psutil

        folder, killed = tmp_path / "out", []

        def kill_one(unit: Unit | None, done: int, total: int) -> None:
            if done == 2 and not killed:
                workers = [
                    p for p in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(p.cmdline())
                ]
                assert len(workers) == 2
                workers[0].kill()
                killed.append(workers[0].pid)

        summary = run_batch(folder, units, cluster="local:2", told=kill_one)
        assert killed
        assert (summary.done, summary.failed, summary.pending) == (10, 0, 0)
        close(folder, whole)

    def test_a_cluster_that_runs_already(
        self, units: Sequence[Unit], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from distributed import LocalCluster

        opened = []
        plain = Model.open
        bad = [Unit(PromptLine(99, "a", None, "#999999"), units[0].model, "analyze", HOW)]
        monkeypatch.setattr(Model, "open", lambda path: opened.append(path) or plain(path))
        with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
            summary = run_batch(tmp_path / "out", [*units, *bad], cluster=cluster.scheduler_address)
            assert (summary.done, summary.failed) == (10, 1)
            assert "no token 999999" in summary.failures[0].error
            assert sorted(opened) == sorted({unit.model.path for unit in units})

            def breaking(*_: object, **more: object) -> None:
                raise ZeroDivisionError

            monkeypatch.setattr("ggufjac.analyses.analyze.analyze", breaking)
            assert run_batch(tmp_path / "broken", units, cluster=cluster.scheduler_address).failed == len(units)
            assert "in breaking" in rows(tmp_path / "broken")[0]["traceback"]
            monkeypatch.setattr("ggufjac.batch.distributed._version", lambda: "0.0.1")
            with pytest.raises(UserError, match=r"has ggufjac 0\.0\.1"):
                run_batch(tmp_path / "broken", units, cluster=cluster.scheduler_address)
        assert len(rows(tmp_path / "out")) == 11

    def test_no_cluster_there(self, units: Sequence[Unit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ggufjac.batch.distributed.PATIENCE", 0.5)
        for cluster, word in (
            ("tcp://127.0.0.1:9", "no scheduler answers"),
            ("local:0", "local:N"),
            ("somewhere", "local:N"),
        ):
            with pytest.raises(UserError, match=word):
                run_batch(tmp_path / "out", units[:1], cluster=cluster)
        assert rows(tmp_path / "out")[0]["status"] == "pending"

    def test_workers_that_die_over_a_unit_make_it_fail(self) -> None:
        from distributed import KilledWorker

        from ggufjac.batch.distributed import _outcome

        class Dead:
            status = "error"

            def exception(self) -> KilledWorker:
                return KilledWorker("key", None, 3)

        class Gone:
            status = "cancelled"

        assert "died" in _outcome(Dead()).error
        with pytest.raises(UserError, match="connection to the cluster"):
            _outcome(Gone())


def close(one: Path, other: Path) -> None:
    """The same units with the same results, up to the last digits, which the number of threads may move."""
    for a, b in zip(rows(one), rows(other), strict=True):
        assert {k: a[k] for k in ("key", "status", "prediction_id", "n_tokens")} == {
            k: b[k] for k in ("key", "status", "prediction_id", "n_tokens")
        }
        assert a["logit"] == pytest.approx(b["logit"], rel=1e-5)
        saved, expected = load(one / a["result"]), load(other / b["result"])
        torch.testing.assert_close(saved.arrays["logits"], expected.arrays["logits"], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(saved.arrays["combined.S"], expected.arrays["combined.S"], rtol=1e-4, atol=1e-4)
    assert len(list((one / RESULTS).iterdir())) == len(list((other / RESULTS).iterdir()))


def test_without_dask_the_message_says_what_to_install(
    units: Sequence[Unit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "ggufjac.batch.distributed", raising=False)
    with pytest.raises(UserError, match=r"pip install distributed"):
        run_batch(tmp_path / "out", units[:1], cluster="local:2")


def test_the_row_of_an_answer_is_about_all_of_it(tiny: Model) -> None:
    with torch.no_grad():
        found = answer(tiny, IDS[:6], AnswerOptions(tokens=3, rivals="none"))
    row = headline(found)
    assert row["explained"] == found.text
    assert row["explained_probability"] == pytest.approx(math.exp(found.log_probability))
    assert row["verdict"] == "MATCH"
    given = {word.text: sum(found.whole[word.start : word.stop]) for word in found.words if word.stop <= found.n_prompt}
    assert row["term1"] == pytest.approx(given[row["source1"]])


def test_the_row_of_a_target_of_several_tokens_is_about_the_whole(tiny: Model) -> None:
    with torch.no_grad():
        found = attribute(tiny, "Hello there", AttributeOptions(target=" abc def", fast=True))
    row = headline(found)
    assert (row["explained"], row["explained_rank"]) == (" abc def", None)
    assert row["explained_probability"] == pytest.approx(math.exp(found.phrases[0].log_probability))
