"""The rows of a batch: what is recorded is what the analysis says, in SQLite and as CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from batches import PROMPTS, rows
from conftest import IDS
from ggufjac.analyses.analyze import Analysis
from ggufjac.analyses.answer.answering import answer
from ggufjac.analyses.attribute import attribute
from ggufjac.analyses.options import AnswerOptions, AttributeOptions, BatchOptions
from ggufjac.analyses.table import load
from ggufjac.batch.headline import headline
from ggufjac.batch.prompts import PromptLine, read_prompts
from ggufjac.batch.run import run_batch, sources
from ggufjac.batch.sheet import csv_of
from ggufjac.batch.store import reading
from ggufjac.batch.units import Unit, units_of
from ggufjac.cli.main import run
from ggufjac.maps.model import Model
from tinymodels import make

#: A chat template that adds nothing of its own but the role.
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}"


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
