"""Fits of lenses computed by dask.distributed: the same as without it, whatever happens to its workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from conftest import PATIENCE
from ggufjac.analyses.lens.corpus import Corpus, corpus_of
from ggufjac.analyses.lens.fit import fit
from ggufjac.analyses.lens.options import LensFitOptions
from ggufjac.batch import fitting
from ggufjac.batch.fitting import TextUnit, fitted_by
from ggufjac.batch.units import BatchModel
from ggufjac.cli.main import run
from ggufjac.errors import UserError
from ggufjac.maps.lens.files import load_lens
from ggufjac.maps.lens.lens import Lens, LensSum
from ggufjac.maps.model import Model
from tinymodels import make

LENGTH, SKIP, TEXTS = 12, 3, 6
HOW = LensFitOptions(prompts=TEXTS, length=LENGTH, skip=SKIP, dtype="float64")


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="dask.distributed is not installed: pip install distributed")
    monkeypatch.setattr("ggufjac.batch.distributed.PATIENCE", PATIENCE)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with Model.open(make("llama", tmp_path_factory.mktemp("fit") / "tiny.gguf", n_layer=3)) as opened:
        yield opened


@pytest.fixture(scope="module")
def corpus(model: Model) -> Corpus:
    documents = [[(7 * i * k + 3 * i) % model.family.n_vocab for i in range(LENGTH)] for k in range(1, TEXTS + 1)]
    return corpus_of(model, documents, "six texts", length=LENGTH, skip=SKIP)


@pytest.fixture(scope="module")
def plain(model: Model, corpus: Corpus) -> Lens:
    return fit(model, corpus, HOW)


def same(found: Lens, right: Lens, share: float = 1e-12) -> None:
    """Up to the last digits, which the number of threads may move."""
    assert (found.n_prompts, found.layers, found.origin) == (right.n_prompts, right.layers, right.origin)
    for layer in right.layers:
        off = (found.jacobians[layer].double() - right.jacobians[layer]).norm() / right.jacobians[layer].norm()
        assert off <= share
        assert found.squares[layer] == pytest.approx(right.squares[layer], rel=1e-9)


def test_a_dead_worker_loses_and_doubles_nothing(model: Model, corpus: Corpus, plain: Lens, tmp_path: Path) -> None:
    import psutil

    killed: list[int] = []
    on_disk: list[int] = []
    out = tmp_path / "lens.pt"

    def kill_one(state: LensSum, _: int) -> None:
        if 0 < state.n < TEXTS:
            on_disk.append(load_lens(out).n_prompts)
        if state.n == 2:
            workers = [p for p in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]
            assert len(workers) == 2
            workers[0].kill()
            killed.append(workers[0].pid)

    found = fit(model, corpus, HOW, out, told=kill_one, jacobians=fitted_by("local:2", model, HOW))
    assert len(killed) == 1
    assert on_disk == [1, 2, 3, 4, 5]  # the first texts, in their order
    same(found, plain)
    same(load_lens(out), plain, 1e-3)


def test_a_cluster_that_runs_already(
    model: Model, corpus: Corpus, plain: Lens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=3, processes=False, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        found = fit(model, corpus, HOW, jacobians=fitted_by(address, model, HOW))
        same(found, plain)
        settled = fit(
            model, corpus, LensFitOptions(**{**vars(HOW), "until": 0.99}), jacobians=fitted_by(address, model, HOW)
        )
        assert settled.n_prompts == 2

        def breaking(*_: object) -> None:
            raise ZeroDivisionError

        out = tmp_path / "lens.pt"
        fit(model, corpus, LensFitOptions(**{**vars(HOW), "prompts": 2}), out)
        before = out.read_bytes()
        monkeypatch.setattr("ggufjac.batch.fitting.text_jacobians", breaking)
        with pytest.raises(RuntimeError, match="in breaking"):
            fit(model, corpus, HOW, out, jacobians=fitted_by(address, model, HOW))

        def refused(*_: object) -> None:
            raise UserError("too long")

        monkeypatch.setattr("ggufjac.batch.fitting.text_jacobians", refused)
        with pytest.raises(UserError, match="too long"):
            fit(model, corpus, HOW, out, jacobians=fitted_by(address, model, HOW))
        assert out.read_bytes() == before
        monkeypatch.undo()
        same(fit(model, corpus, HOW, out, jacobians=fitted_by(address, model, HOW)), plain, 1e-3)


def test_a_worker_has_the_matrices_of_one_text(model: Model, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slowly they are added up."""
    from distributed import LocalCluster

    begun: list[int] = []
    through = fitting.text_jacobians

    def counted(session: Model, text: tuple[int, ...], options: LensFitOptions) -> dict[int, torch.Tensor]:
        begun.append(corpus.texts.index(text))
        return through(session, text, options)

    monkeypatch.setattr(fitting, "text_jacobians", counted)
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:

        def slowly(state: LensSum, _: int) -> None:
            time.sleep(0.2)
            assert len(begun) <= state.n + 2

        fit(model, corpus, HOW, told=slowly, jacobians=fitted_by(cluster.scheduler_address, model, HOW))
    assert sorted(begun) == list(range(TEXTS))


def arguments(model: Model, out: Path, *more: str) -> list[str]:
    short = ["--prompts", "16", "--length", "12", "--skip", "3"]
    return ["lens", "fit", str(model.file.path), *short, "--out", str(out), *more]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_keeps_what_is_there(model: Model, tmp_path: Path) -> None:
    out, whole = tmp_path / "lens.pt", tmp_path / "whole.pt"
    command = [sys.executable, "-m", "ggufjac", *arguments(model, out, "--cluster", "local:2")]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until = time.monotonic() + PATIENCE
    while not out.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, workers too
    told = process.communicate(timeout=PATIENCE)[1]
    if process.returncode:  # it may have been through by then
        assert process.returncode == 130
        assert told.strip().splitlines()[-1].endswith("the same command goes on from here")
        assert "Traceback" not in told
    assert 1 <= load_lens(out).n_prompts <= 16
    assert [entry.name for entry in tmp_path.iterdir()] == ["lens.pt"]
    assert run(arguments(model, out)) == 0
    assert run(arguments(model, whole)) == 0
    found, right = load_lens(out), load_lens(whole)
    assert (found.n_prompts, found.origin) == (right.n_prompts, right.origin)
    for layer in right.layers:
        torch.testing.assert_close(found.jacobian(layer), right.jacobian(layer), rtol=1e-2, atol=1e-2)


def test_no_cluster_there(model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments(model, tmp_path / "l.pt", "--cluster", "somewhere")) == 2
    told = capsys.readouterr().err.strip()
    assert "local:N" in told
    assert len(told.splitlines()) == 1


def test_units_have_keys_of_their_own(model: Model) -> None:
    source = model.file.path
    units = [TextUnit(n, (1, 2), BatchModel("m", str(source), "f"), HOW) for n in range(3)]
    assert len({unit.key for unit in units}) == 3


def test_without_dask_the_message_says_what_to_install(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "ggufjac.batch.distributed", raising=False)
    with pytest.raises(UserError, match=r"pip install distributed"):
        fitted_by("local:2", model, HOW)
