"""Batches computed by dask.distributed: the same as without it, whatever happens to its workers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from batches import HOW, rows
from conftest import PATIENCE
from ggufjac.analyses.table import load
from ggufjac.batch.prompts import PromptLine
from ggufjac.batch.run import run_batch
from ggufjac.batch.store import RESULTS
from ggufjac.batch.units import Unit
from ggufjac.errors import UserError
from ggufjac.maps.model import Model


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
