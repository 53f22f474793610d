"""The check of a GPU: it runs through on the CPU, tells what is wrong, survives what fails, becomes a section."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import results
from benchmarks.device import build, kernels, models, products, show, storage, values
from benchmarks.device.arguments import parsed
from benchmarks.device.card import Card
from benchmarks.device.check import Check, Clock
from benchmarks.device.rows import Log, Phase, Row, read
from benchmarks.device.run import run
from benchmarks.device.timing import each, whole
from benchmarks.device.trial.tried import NOW, tried
from benchmarks.device.weights import LARGEST, WEIGHTS, matrix
from benchmarks.synth import fill
from benchmarks.synthetic.shapes import named
from conftest import PATIENCE
from ggufjac.quants import native
from ggufjac.quants.device.kernels import Kernels
from ggufjac.reader.types import GGMLType

CPU = Card(torch.device("cpu"))
TINY = ("--device", "cpu", "--scale", "tiny")


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """The file of a quick check at the smallest sizes."""
    out = tmp_path_factory.mktemp("check") / "device.json"
    assert run(parsed([*TINY, "--quick", "--out", str(out)])) == 0
    return read(out)


def test_a_quick_check_measures_and_compares(checked: Log) -> None:
    phases = {phase.name: phase for phase in checked.phases}
    assert list(phases) == ["build", "values", "products", "smollm"]
    assert not any(phase.failed or phase.stopped for phase in phases.values())
    kinds = {row.what for row in phases["values"].rows}
    assert {"Q4_K", "Q6_K", "families", "quantised models"} <= kinds
    timed = {(row.what, row.at, row.dtype, row.way): row for row in phases["products"].rows}
    narrow = timed["Q4_K 96x512 apply", "16", "float32", "engine"]
    assert narrow.rate == pytest.approx(96 * 512 / 256 * 144 / (narrow.seconds or 0) / 1e9)
    assert ("Q4_K 96x512 adjoint", "128", "bfloat16", "library") in timed
    steps = {row.what: row for row in phases["smollm"].rows}
    full = steps["full map, 8 tokens, 24 GiB"]
    assert full.peak
    assert full.plan
    assert full.seconds
    assert steps["singular values beside the CPU's, 8 tokens, 24 GiB"].right
    rows = [row for phase in phases.values() for row in phase.rows]
    assert sum(row.right is True for row in rows) > 25
    assert all(row.met is None for row in rows), "aims are a GPU's"


def test_the_torch_path_is_what_values_are_compared_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Products that are off by a percent are found out, by their errors and by the exit status."""
    honest = products.products.apply
    monkeypatch.setattr(values.products, "apply", lambda *args: 1.01 * honest(*args))
    out = tmp_path / "device.json"
    assert run(parsed([*TINY, "--only", "values", "--out", str(out)])) == 1
    wrong = [row for phase in read(out).phases for row in phase.rows if row.right is False]
    assert {row.dtype for row in wrong} >= {"float32", "float64"}
    assert all("apply" in row.note for row in wrong)


def test_a_phase_that_fails_is_told_and_the_next_one_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(check: object) -> Iterator[Row]:
        yield Row("values", "the first")
        raise ZeroDivisionError("in the middle")

    monkeypatch.setattr(values, "rows", broken)
    out = tmp_path / "device.json"
    assert run(parsed([*TINY, "--only", "values", "smollm", "--steps", "coefficients", "--out", str(out)])) == 1
    first, second = read(out).phases
    assert [row.what for row in first.rows] == ["the first"]
    assert "ZeroDivisionError: in the middle" in first.failed
    assert "ZeroDivisionError: in the middle" in capsys.readouterr().out
    assert not second.failed
    assert any(row.what.startswith("coefficients") for row in second.rows)


def test_a_product_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    honest = values._products

    def one_breaks(*args: object) -> Row:
        row = args[-1]
        assert isinstance(row, Row)
        if row.dtype == "float64":
            raise NotImplementedError("no float64 here")
        return honest(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(values, "_products", one_breaks)
    out = tmp_path / "device.json"
    assert run(parsed([*TINY, "--quick", "--only", "values", "--out", str(out)])) == 1
    rows = {(row.what, row.dtype): row for row in read(out).phases[0].rows}
    assert math.isnan(rows["Q4_K", "float64"].error or 0)
    assert "no float64 here" in rows["Q4_K", "float64"].trace
    assert rows["Q4_K", "float32"].right


def test_a_phase_stops_at_its_limit(tmp_path: Path) -> None:
    out = tmp_path / "device.json"
    run(parsed([*TINY, "--only", "products", "--limit", "0", "--out", str(out)]))
    (phase,) = read(out).phases
    assert len(phase.rows) == 1
    assert "was not run" in phase.stopped
    run(parsed([*TINY, "--only", "products", "--within", "0", "--out", str(out)]))
    (phase,) = read(out).phases
    assert "not begun" in phase.stopped


def test_a_device_that_does_not_answer_any_more_gets_a_new_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Card, "alive", lambda self: False)
    out = tmp_path / "device.json"
    run(parsed([*TINY, "--only", "products", "smollm", "--steps", "coefficients", "--out", str(out)]))
    assert [phase.name for phase in read(out).phases] == ["products", "smollm"]
    assert read(out).phases[1].rows


def test_types_of_weights_are_dealt_out_to_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = tmp_path / "device.json"
    monkeypatch.setattr(values, "_families", lambda check: iter(()))
    monkeypatch.setattr(values, "QUICK_TYPES", (GGMLType.Q4_K, GGMLType.I8))  # one that no process can compare
    assert run(parsed([*TINY, "--quick", "--only", "values", "--shards", "2", "--out", str(out)])) == 1
    rows = read(out).phases[0].rows
    assert [(row.what, row.note) for row in rows if not row.right] == [("I8", "not compared")]
    assert len([row for row in rows if row.what == "Q4_K" and row.right]) == 4, "bits, and products in three precisions"


class Fused(Kernels):
    """Kernels of a device, made of the processor's: they stand for Triton's where there is no GPU."""

    def apply(self, type: GGMLType, packed: Tensor, n_in: int, x: Tensor) -> Tensor:
        assert len(x) <= 64
        out = x.double() @ self.expand(type, packed, n_in, torch.float64).T
        return (out * (1 + 2.0**-12)).to(x.dtype)

    def adjoint(self, type: GGMLType, packed: Tensor, n_in: int, g: Tensor) -> Tensor:
        return (g.double() @ self.expand(type, packed, n_in, torch.float64)).to(g.dtype)


def test_kernels_of_the_device_are_compared_and_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One of them is off by the twelfth digit."""
    for module in (kernels, products):
        monkeypatch.setattr(module, "kernels_of", lambda device: Fused())
    monkeypatch.setattr(values, "_families", lambda check: iter(()))
    out = tmp_path / "device.json"
    assert run(parsed([*TINY, "--quick", "--only", "values", "products", "--out", str(out)])) == 1
    compared, timed = read(out).phases
    wrong = [(row.what, row.dtype, row.note) for row in compared.rows if row.right is False]
    assert [what[:2] for what in wrong] == [("Q4_K", "float32"), ("Q6_K", "float32")]
    assert all("apply kernel" in note for *_, note in wrong)
    assert timed.failed == compared.failed == ""
    ways = {(row.what, row.at, row.way) for row in timed.rows}
    assert {("Q4_K 96x512 apply", "16", way) for way in ("library", "kernel", "engine")} <= ways
    assert ("Q4_K 96x512 expanded", "bfloat16", "kernel") in ways
    assert all(row.launched for row in timed.rows if row.way == "kernel" and row.at.isdigit() and row.right)


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.parametrize("m", [1, 16, 64])
def test_other_tiles_are_tried_beside_the_usual_one(m: int) -> None:
    found = kernels.tiles(GGMLType.Q4_K, m, CPU.device, transposed=False)
    assert len({*found.values()}) == len(found) >= 3
    assert ("other units" in found) == (m == 16)


def test_what_runs_when() -> None:
    assert parsed([]).phases == ("build", "values", "products", "smollm", "1b", "8b", "70b")
    assert parsed(["--quick", "--skip", "build"]).phases == ("values", "products", "smollm")
    assert parsed(["--8b"]).phases == ("build", "8b")
    assert parsed(["--70b", "--real", "x.gguf"]).phases == ("build", "70b", "real")
    assert parsed(["--only", "products"]).phases == ("products",)
    assert parsed(["--only", "trial"]).phases == ("trial",)
    assert parsed([]).scale.name == "full"


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_candidates_are_tried(tmp_path: Path) -> None:
    """By Triton's interpreter, which is chosen before Triton is imported: hence a process of its own."""
    out = tmp_path / "device.json"
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks", "device", *TINY, "--only", "trial", "--out", str(out)],
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (phase,) = read(out).phases
    assert not phase.failed
    assert all(row.seconds for row in phase.rows), [row.note for row in phase.rows if not row.seconds]
    narrow = [row for row in phase.rows if row.unit == "GB/s" and row.error is not None]
    assert all(row.error is not None and row.error < 5e-7 for row in narrow)
    kernels = {(row.what.split()[-1], row.at, row.way.split()[0]) for row in narrow}
    both, all_rows = ("apply", "adjoint"), ("1", "16")
    assert kernels == {
        *((way, m, kernel) for way in both for m in all_rows for kernel in ("engine", "subnormal")),
        *((way, "1", "scalar") for way in both),
        ("apply", "16", "blockwise"),
    }
    assert {row.way for row in phase.rows} >= {"by columns, 2^26", "three of halves, 2^26, stretches of 2048"}
    assert "| Q4_K 96x512 adjoint | 16 | float32 |" in ran.stdout


def test_a_candidate_that_fails_or_errs_is_left_out() -> None:
    def broken() -> Tensor:
        raise ZeroDivisionError("in a kernel")

    check = Check(parsed(TINY), CPU, Clock(1), 1e9)
    row, exact = Row("trial", "Q4_K apply", "16", "float32", "new"), torch.ones(2, 3)
    now = replace(row, way="old", note=NOW)
    works = {now: lambda: exact, row: lambda: exact, replace(row, way="wrong"): lambda: 2 * exact}
    works[replace(row, way="broken")] = broken
    made = [tried(check, row, [work], exact, 1e-6, 1e-3, captured=True) for row, work in works.items()]
    assert [made[2].note, made[3].note] == [
        "left out: its error is 1.0e+00, and 1e-06 may be",
        "left out: ZeroDivisionError: in a kernel",
    ]
    assert list(show.lines(made)) == [f"Q4_K apply, 16 rows float32 {row.way}: {row.note}" for row in made[2:]], (
        "those that are right stand in the table"
    )
    (*_, line) = show.table(Phase("trial", rows=made))
    assert line.startswith("| Q4_K apply | 16 | float32 | ")
    assert list(show.table(Phase("products", rows=made))) == []


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path, out = tmp_path / "own.gguf", tmp_path / "device.json"
    path.touch()
    fill(path, named("qwen3-0.6b", parsed(TINY).scale.models))
    assert run(parsed([*TINY, "--real", str(path), "--skip", "build", "--out", str(out)])) == 0
    (phase,) = read(out).phases
    assert {"coefficients, 8 tokens, all memory", "top 8 triplets, 8 tokens, all memory"} <= {
        row.what for row in phase.rows
    }


def test_a_large_map_is_tried_in_part_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where all of it would take longer than is left, the part is all that is measured."""
    monkeypatch.setattr(models, "LARGE", 256)
    out = tmp_path / "device.json"
    run(parsed([*TINY, "--only", "70b", "--steps", "map", "--out", str(out)]))
    steps = [row.what for row in read(out).phases[0].rows]
    assert "16 columns of the full map, 8 tokens, 24 GiB" in steps
    assert "full map, 8 tokens, 24 GiB" in steps
    monkeypatch.setattr(models._Analysis, "_fits", lambda self, part: False)
    run(parsed([*TINY, "--only", "70b", "--steps", "map", "--out", str(out)]))
    steps = [row.what for row in read(out).phases[0].rows]
    assert "full map, 8 tokens, 24 GiB" not in steps


@pytest.mark.parametrize("kind", WEIGHTS, ids=lambda kind: kind.name)
def test_weights_of_every_type_are_finite(kind: GGMLType) -> None:
    data = matrix(kind, 31, 768)
    expanded = native.dequantize(kind, data)
    assert expanded.shape == (31, 768)
    assert abs(expanded).max() < LARGEST
    assert expanded.std() > 1e-3


@pytest.mark.skipif(sys.platform != "linux", reason="files in memory are Linux's")
@pytest.mark.parametrize("shared", ["/dev/shm", "/nowhere"])
def test_a_model_in_memory(shared: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from ggufjac.maps.model import Model

    monkeypatch.setattr(storage, "SHARED", Path(shared))
    with storage.room_for(1 << 20) as (path, where):
        assert ("without a name" in where) == (shared == "/nowhere")
        fill(path, named("llama3.1-8b", parsed(TINY).scale.models), threads=2)
        with Model.open(path) as model:
            assert model.linearize([1, 2, 3]).reconstruction_error() < 1e-5
    assert not path.exists()


def test_times_are_per_call() -> None:
    calls: list[int] = []
    times = each(CPU, [lambda: calls.append(0), lambda: calls.append(1)], 1e-4)
    assert calls.count(0) - calls.count(1) == 1, "in turn, and one to warm up"
    assert 0 < times.least <= times.median < 1e-3
    assert whole(CPU, lambda: calls.clear(), patience=0).runs == 1


def test_an_extension_is_found_for_this_folder_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert build.importable()
    monkeypatch.setattr(build, "ROOT", tmp_path)
    assert not build.importable()


# --- how it is told -------------------------------------------------------------------------------------------


def of_a_gpu() -> Log:
    """A check with one of everything."""
    facts: dict[str, str | float] = {
        "card": "NVIDIA Some 1", "memory GiB": 80.0, "driver": "1.2", "torch": "2.0", "copies GB/s": 3000.0,
    }  # fmt: skip
    narrow = Row("products", "Q4_K 8x8 apply", "1", "float32", "kernel", 14e-6, 13e-6, runs=9, share=0.7, aim_share=0.6)
    missed = Row("8b", "full map, 8 tokens, 24 GiB", "", "float32", "", 20.0, aim=15.0, peak=20 << 30, plan=22 << 30)
    logits = Row("8b", "logits", dtype="float32", error=1e-7, allowed=1e-4)
    rows = [narrow, replace(narrow, at="2", share=0.5)]
    wrong = Row("values", "Q6_K", "float32", "float32", error=0.5, allowed=1e-5, note="worst: 3 apply")
    right = replace(wrong, what="Q4_K", error=1e-7)
    phases = [Phase("values", 1.0, rows=[right, wrong]), Phase("products", 2.0, "stopped after 2 s", rows=rows)]
    phases += [Phase("8b", 30.0, failed="Traceback\nMemoryError: none left", rows=[missed, logits])]
    return Log(Path("x.json"), facts, phases, "2026-01-02")


def test_a_section_is_written_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = of_a_gpu()
    log.out = tmp_path / "device.json"
    log.write()
    target = tmp_path / "RESULTS.md"
    target.write_text(results.document({"growth": "kept"}))
    monkeypatch.setattr(results, "TARGET", target)
    monkeypatch.setattr(sys, "argv", ["results", "device", "--from", str(log.out)])
    assert results.main() == 0
    sections = results.sections_of(target.read_text())
    assert sections["growth"] == "kept"
    text = sections["device"]
    assert "2026-01-02: NVIDIA Some 1, 80.0 GiB, driver 1.2, torch 2.0; 3000 GB/s read and written by copies." in text
    assert "python -m" not in text
    assert "Q4_K 8x8 apply float32 kernel: 1 14 us 70%, 2 14 us 50%!" in text
    assert "**products** (stopped after 2 s)" in text
    assert "| 15 s, missed |" in text
    assert "Q6_K float32: error 5.0e-01 worst: 3 apply [WRONG (allowed 1e-05)]" in text
    assert "| logits | float32 | 1.0e-07 | 1e-04 |" in text
    assert "MemoryError: none left" in text
    for line in text.splitlines():
        assert not line.startswith("|") or line.count("|") in (12, 5), line
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["results", "device"])
    assert results.main() == 2
    assert "--from device.json" in capsys.readouterr().err


def test_a_file_that_is_no_check(tmp_path: Path) -> None:
    for text in ("{}", "[]", "no json", json.dumps({"facts": {}, "date": "", "phases": [{"name": "x"}]})):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(results.UserError, match="is no file of"):
            list(results.SECTIONS["device"](results.Sources(check=tmp_path / "x.json")))


def test_lines_are_compact() -> None:
    told = "\n".join([line for phase in of_a_gpu().phases for line in show.lines(phase.rows)])
    assert "Q4_K 8x8 apply float32 kernel: 1 14 us 70%, 2 14 us 50%!" in told
    assert "WRONG" in told
    assert "MISSED aim 15 s" in told
    last = list(show.closing(of_a_gpu()))
    assert last[0] == "phases: values 1 s, products 2 s (stopped after 2 s), 8b 30 s FAILED"
    assert last[1:] == ["values: 2 of 3 right", "aims: 1 of 3 met"]
