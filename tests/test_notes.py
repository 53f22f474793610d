"""What a reader should know of results reaches the reports that are of no single prompt: plans and batches."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from conftest import printed
from ggufjac.analyses.options import BatchOptions
from ggufjac.analyses.plan import plan
from ggufjac.batch.prompts import PromptLine
from ggufjac.batch.run import run_batch, sources
from ggufjac.batch.sheet import csv_of
from ggufjac.batch.store import DATABASE, reading
from ggufjac.batch.summary import summary_of
from ggufjac.batch.units import units_of
from ggufjac.maps.model import Model
from ggufjac.reports.tables.batch import report
from ggufjac.reports.views import VIEWS
from tinymodels import FAMILIES, Tiny

EMPTY = "the matrix blk.1.ffn_down.weight holds only zeros: perhaps the download is unfinished"
TWICE = "the prompt begins with BOS twice (<s>): --bos no leaves one out"


@pytest.fixture(scope="module")
def noted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a matrix of zeros."""
    made = FAMILIES["llama"]
    t = Tiny("llama", made.shape, 1)
    made.fill(t)
    t._tensors["blk.1.ffn_down.weight"][:] = 0
    return t.write(tmp_path_factory.mktemp("noted") / "noted.gguf")


@pytest.fixture(scope="module")
def folder(noted: Path, tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two models, of which one has a note, and of two prompts, of which one has one."""
    place = tmp_path_factory.mktemp("batch") / "results"
    prompts = [PromptLine(1, "The bridge"), PromptLine(2, "<s>out")]
    how = BatchOptions(fast=True, verify=False)
    assert run_batch(place, units_of(prompts, sources([noted, tiny_path]), ["analyze"], how)).failed == 0
    return place


def test_a_plan_has_the_notes_of_its_file(noted: Path) -> None:
    with Model.open(noted) as model:
        made = plan(model, 4, "attribute", memory=1 << 28)
    assert made.notes == (EMPTY,)
    assert EMPTY in " ".join(printed(VIEWS.terminal(made), 200).split())


def test_rows_of_a_batch_have_their_notes(folder: Path) -> None:
    with reading(folder) as store:
        rows = store.rows()
    assert [json.loads(row["notes"] or "[]") for row in rows] == [[EMPTY], [EMPTY, TWICE], [], [TWICE]]
    assert csv_of(rows).count("holds only zeros") == 2


def test_the_report_of_a_batch_says_each_note_once(folder: Path) -> None:
    with reading(folder) as store:
        summary = summary_of(store.rows(), str(folder))
    assert [(note.text, note.models, note.units) for note in summary.notes] == [
        (EMPTY, ("noted.gguf",), 2),
        (TWICE, ("noted.gguf", "llama.gguf"), 2),
    ]
    shown = " ".join(printed(report(summary), 200).split())
    assert shown.count(EMPTY) == shown.count(TWICE) == 1


def test_what_rules_leave_out_is_no_error(tiny_path: Path, tmp_path: Path) -> None:
    prompts, models = [PromptLine(1, "The bridge")], sources([tiny_path])
    exact = units_of(prompts, models, ["attribute"], BatchOptions(fast=True, rules="half"))
    other = units_of(prompts, models, ["attribute"], BatchOptions(fast=True, rules="lrp-qk"))
    run_batch(tmp_path / "out", exact)
    run_batch(tmp_path / "out", other)
    with reading(tmp_path / "out") as store:
        rows = store.rows()
    assert [row["rules"] for row in rows] == ["half", "lrp-qk"]
    (group,) = summary_of(rows, "out").groups
    assert group.reconstruction == group.worst == rows[0]["reconstruction"]
    assert group.left_out == rows[1]["reconstruction"]
    (alone,) = summary_of(rows, "out", {other[0].key}).groups
    assert alone.reconstruction is None
    shown = " ".join(printed(report(summary_of(rows, "out", {other[0].key})), 140).split())
    assert f"not credited {rows[1]['reconstruction']:.1%}" in shown
    assert "their terms credit it to no token" in shown


def test_a_table_without_notes_is_read(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "old"
    shutil.copytree(folder, place)
    with sqlite3.connect(place / DATABASE) as old:
        old.execute("ALTER TABLE units DROP COLUMN notes")
        old.execute("PRAGMA user_version = 3")
    old.close()
    with reading(place) as store:
        rows = store.rows()
    assert summary_of(rows, str(place)).notes == ()
    assert "notes" in csv_of(rows)
