"""Batches: every unit once, whatever happens in between, and what is told of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import ggufjac
from batches import HOW, PROMPTS, rows, same
from conftest import printed
from ggufjac.analyses.analyze import Analysis
from ggufjac.batch.prompts import PromptLine
from ggufjac.batch.run import run_batch, sources
from ggufjac.batch.store import DATABASE, LOCK, RESULTS, reading, writing
from ggufjac.batch.summary import summary_of
from ggufjac.batch.units import Unit, units_of
from ggufjac.cli.main import parse, run
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.reports.tables.batch import report


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
