"""Nothing is lost, nothing is silent: power cuts, full disks, files that change under the work."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ggufjac.analyses import analyze as analyzing
from ggufjac.analyses.analyze import Analysis, analyze
from ggufjac.analyses.exactness import wrong
from ggufjac.analyses.options import AnalyzeOptions, BatchOptions
from ggufjac.analyses.table import load
from ggufjac.batch.prompts import PromptLine
from ggufjac.batch.run import run_batch, sources
from ggufjac.batch.store import DATABASE, RESULTS, reading
from ggufjac.batch.units import Unit, units_of
from ggufjac.cli.main import run
from ggufjac.errors import UserError
from ggufjac.maps.model import Model
from ggufjac.quants.memory.disk import on_disk_tensor

POSIX = pytest.mark.skipif(os.name == "nt", reason="signals and places of POSIX")
HOW = BatchOptions(top=2, verify=False)


@pytest.fixture
def model_path(tiny_path: Path, tmp_path: Path) -> Path:
    """A model of this test's own."""
    return Path(shutil.copy(tiny_path, tmp_path / "model.gguf"))


def units(path: Path, *prompts: str) -> tuple[Unit, ...]:
    lines = [PromptLine(i, text) for i, text in enumerate(prompts or ("The bridge", "out", "in the"), 1)]
    return units_of(lines, sources([path]), ["analyze"], HOW)


def rows(folder: Path) -> list[dict[str, Any]]:
    with reading(folder) as store:
        return [dict(row) for row in store.rows()]


def computing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prompts that are computed from now on."""
    plain, found = analyzing.analyze, []

    def counted(model: Model, prompt: str, *more: Any, **options: Any) -> Analysis:
        found.append(prompt)
        return plain(model, prompt, *more, **options)

    monkeypatch.setattr(analyzing, "analyze", counted)
    return found


class TestPowerCut:
    @pytest.fixture
    def finished(self, model_path: Path, tmp_path: Path) -> tuple[Path, tuple[Unit, ...]]:
        folder, found = tmp_path / "out", units(model_path)
        assert run_batch(folder, found).done == 3
        return folder, found

    def damaged(path: Path) -> None:
        """A byte of an array that is another one."""
        data = bytearray(path.read_bytes())
        data[-5] ^= 1
        path.write_bytes(data)

    @pytest.mark.parametrize(
        "cut",
        [
            lambda path: path.write_bytes(bytes(path.stat().st_size)),
            lambda path: path.write_bytes(path.read_bytes()[:-4096] + bytes(4096)),
            lambda path: path.write_bytes(path.read_bytes()[:100]),
            lambda path: path.write_bytes(b""),
            lambda path: path.unlink(),
            damaged,
        ],
        ids=["zeros", "zeros at the end", "cut", "empty", "gone", "a bit"],
    )
    def test_a_result_that_is_not_what_was_written_is_computed_again(
        self, finished: tuple[Path, tuple[Unit, ...]], cut: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder, found = finished
        before = rows(folder)
        logits = load(folder / before[1]["result"]).arrays["logits"].clone()  # what is loaded lies in the file
        cut(folder / before[1]["result"])
        computed = computing(monkeypatch)
        assert run_batch(folder, found).done == 3
        assert computed == ["out"]
        again = load(folder / rows(folder)[1]["result"])
        assert torch.equal(again.arrays["logits"], logits)

    def test_between_finding_that_and_computing_it_nobody_is_told_that_it_is_done(
        self, finished: tuple[Path, tuple[Unit, ...]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder, found = finished
        (folder / rows(folder)[0]["result"]).write_bytes(b"")
        monkeypatch.setattr("ggufjac.batch.run._computed", lambda *_: pytest.fail("interrupted"))
        with pytest.raises(pytest.fail.Exception):
            run_batch(folder, found)
        assert [row["status"] for row in rows(folder)] == ["pending", "done", "done"]

    def test_a_result_is_on_the_disk_before_its_row(
        self, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from ggufjac.batch.store import Store

        steps: list[str] = []
        sync, replace, record = os.fsync, os.replace, Store.record
        monkeypatch.setattr(os, "fsync", lambda handle: steps.append("sync") or sync(handle))
        monkeypatch.setattr(os, "replace", lambda a, b: steps.append("rename") or replace(a, b))
        monkeypatch.setattr(Store, "record", lambda *args: steps.append("row") or record(*args))
        run_batch(tmp_path / "out", units(model_path, "out"))
        told = steps[steps.index("rename") - 1 :]
        assert told == (["sync", "rename", "row"] if os.name == "nt" else ["sync", "rename", "sync", "row"])
        with sqlite3.connect(tmp_path / "out" / DATABASE) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete"

    def test_sqlite_waits_for_the_disk(self, model_path: Path, tmp_path: Path) -> None:
        from ggufjac.batch.store import writing

        with writing(tmp_path / "out") as store:
            assert store._connection.execute("PRAGMA synchronous").fetchone()[0] == 3  # EXTRA

    @pytest.mark.parametrize("left", [None, b""])
    def test_results_without_their_table_are_taken_up(
        self, finished: tuple[Path, tuple[Unit, ...]], left: bytes | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder, found = finished
        before = rows(folder)
        (folder / DATABASE).unlink() if left is None else (folder / DATABASE).write_bytes(left)
        computed = computing(monkeypatch)
        assert run_batch(folder, found[:2]).done == 2
        assert computed == []
        assert len(list((folder / RESULTS).iterdir())) == 3  # that of the unit which was not asked for stays
        assert run_batch(folder, found).done == 3
        assert computed == []
        of_the_run = {"seconds", "finished"}
        for old, new in zip(before, rows(folder), strict=True):
            assert {k: v for k, v in old.items() if k not in of_the_run} == {
                k: v for k, v in new.items() if k not in of_the_run
            }

    def test_a_table_that_is_damaged_is_named_with_the_way_out(self, finished: tuple[Path, tuple[Unit, ...]]) -> None:
        folder, found = finished
        (folder / DATABASE).write_bytes(bytes(8192))
        with pytest.raises(UserError, match="move it away, and the same run takes up the results"):
            run_batch(folder, found)
        assert len(list((folder / RESULTS).iterdir())) == 3

    def test_another_units_result_is_not_believed(
        self, finished: tuple[Path, tuple[Unit, ...]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nor a file without a checksum that no row speaks for."""
        from safetensors.torch import save_file

        folder, found = finished
        place = folder / rows(folder)[0]["result"]
        (folder / DATABASE).unlink()
        save_file({"x": torch.zeros(1)}, place, metadata={"ggufjac.result": load(place).to_json()})
        computed = computing(monkeypatch)
        run_batch(folder, found)
        assert computed == ["The bridge"]


class TestChangingModels:
    def changing(self, monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
        """The second analysis finds its model changed when it is nearly over."""
        from ggufjac.analyses.common.subject import Subject

        plain, calls = Subject.map_facts, []

        def changed(subject: Subject, *more: Any) -> dict[str, Any]:
            calls.append(subject)
            if len(calls) == 2:
                change()
            return plain(subject, *more)

        monkeypatch.setattr(Subject, "map_facts", changed)

    def test_one_that_is_overwritten_in_mid_run(
        self, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = bytearray(model_path.read_bytes())
        data[-1000:] = bytes(1000)

        def overwrite() -> None:
            with model_path.open("rb+") as file:
                file.write(data)

        self.changing(monkeypatch, overwrite)
        found = units(model_path)
        summary = run_batch(tmp_path / "out", found)
        assert (summary.done, summary.failed) == (1, 2)
        for failure in summary.failures:
            assert "model.gguf: the file was changed while it was in use" in failure.error

    def test_one_that_is_cut_is_named_before_it_is_touched(
        self, model_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Model.open(model_path) as model:
            assert analyze(model, "out", AnalyzeOptions(verify=False)).prompt == "out"
            os.truncate(model_path, model_path.stat().st_size // 2)
            with pytest.raises(UserError, match=r"model.gguf: the file was changed while it was in use"):
                analyze(model, "out", AnalyzeOptions(verify=False))

    @POSIX
    def test_one_that_is_deleted_is_still_there(self, model_path: Path) -> None:
        with Model.open(model_path) as model:
            assert model.vocab
            model_path.unlink()
            assert analyze(model, "out", AnalyzeOptions(verify=False)).reconstruction < 1e-5

    def test_a_map_that_misses_too_much_is_a_failure(
        self, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import dataclasses

        plain = analyzing.analyze

        def missing(*args: Any, **more: Any) -> Analysis:
            return dataclasses.replace(plain(*args, **more), reconstruction=1e-2)

        monkeypatch.setattr(analyzing, "analyze", missing)
        (failure,) = run_batch(tmp_path / "out", units(model_path, "out")).failures
        assert "misses 1.0e-02 of the output" in failure.error
        assert rows(tmp_path / "out")[0]["result"] is None

    def test_how_much_is_too_much(self) -> None:
        assert not wrong(2e-6, "float32")
        assert wrong(1e-2, "float32")
        assert wrong(float("nan"), "float64")
        assert not wrong(5e-2, "bfloat16")
        assert wrong(float("nan"), "bfloat16")


class TestFullDisks:
    def test_a_full_disk_is_one_line(self, tiny: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import safetensors.torch
        from safetensors import SafetensorError

        def full(*_: Any, **__: Any) -> None:
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

        result = analyze(tiny, "out", AnalyzeOptions(verify=False))
        monkeypatch.setattr(safetensors.torch, "save_file", full)
        with pytest.raises(UserError, match=r"x.safetensors cannot be written: No space left on device"):
            result.save(tmp_path / "x.safetensors")
        assert list(tmp_path.iterdir()) == []

    @pytest.fixture
    def small(self, tmp_path: Path) -> Iterator[Path]:
        """A disk of two megabytes."""
        place = tmp_path / "small"
        place.mkdir()
        mounted = (
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, check=False)
            if shutil.which("mount")
            else None
        )
        if mounted is None or mounted.returncode:
            pytest.skip("nothing can be mounted here")
        try:
            yield place
        finally:
            subprocess.run(["umount", "-l", place], check=True)

    @POSIX
    def test_a_run_onto_a_full_disk_ends_with_one_line_and_goes_on_later(
        self, model_path: Path, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        prompts = tmp_path / "p.txt"
        prompts.write_text("The bridge\nout\n")
        arguments = [
            "run",
            str(prompts),
            str(model_path),
            "--out",
            str(small / "out"),
            "--analysis",
            "attribute",
            "--fast",
        ]
        assert run([*arguments[:4], str(small / "probe"), *arguments[5:]]) == 0
        shutil.rmtree(small / "probe")
        capsys.readouterr()
        with contextlib.suppress(OSError), (small / "full").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        with contextlib.suppress(OSError), (small / "more").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        assert run(arguments) == 2
        told = capsys.readouterr().err
        assert len(told.splitlines()) == 1
        assert "full" in told or "No space left" in told or "cannot be" in told
        (small / "full").unlink()
        assert run(arguments) == 0

    @POSIX
    def test_a_result_in_a_file_has_its_place_reserved(self, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert on_disk_tensor((1000, 100), torch.float32, small).fill_(1.0).sum() == 100_000
        free = shutil.disk_usage(small)
        monkeypatch.setattr(
            shutil, "disk_usage", lambda place: free._replace(free=1 << 40)
        )  # as one that fills meanwhile
        with pytest.raises(UserError, match="the result takes 3 MiB"):
            on_disk_tensor((1000, 1000), torch.float32, small)
        assert list(small.iterdir()) == []

    @POSIX
    def test_it_is_reserved(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        reserved: list[tuple[int, int]] = []
        plain = os.posix_fallocate
        monkeypatch.setattr(
            os, "posix_fallocate", lambda handle, start, n: reserved.append((start, n)) or plain(handle, start, n)
        )
        on_disk_tensor((10, 10), torch.float64, tmp_path)
        assert reserved == [(0, 800)]
