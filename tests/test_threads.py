"""Threads that columns are shared out to: order, mistakes, and sums that do not depend on how many there are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ggufjac.maps import sweeps
from ggufjac.maps.model import Model
from ggufjac.maps.options import MapOptions
from ggufjac.quants.memory.threads import kernel_threads, kernels_first, shared_out, spare_threads
from tinymodels import make

THREADS = 3


@pytest.fixture(params=["llama", "qwen3moe", "deepseek2"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Model]:
    with Model.open(make(request.param, tmp_path / "tiny.gguf")) as opened:
        yield opened


def test_results_come_in_order_from_several_threads() -> None:
    together = threading.Barrier(THREADS, timeout=60)  # which one thread alone would never pass

    def work(item: int) -> tuple[int, int, int, bool]:
        together.wait()
        return item, kernel_threads(), torch.get_num_threads(), torch.is_grad_enabled()

    with kernels_first(), torch.no_grad():
        found = list(shared_out(work, range(4 * THREADS), THREADS))
    assert found == [(item, 1, 1, False) for item in range(4 * THREADS)]


def test_a_mistake_in_a_thread_is_the_callers() -> None:
    done: list[int] = []

    def work(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        done.append(item)
        return item

    with pytest.raises(ValueError, match="two"):
        list(shared_out(work, range(1000), THREADS))
    assert len(done) < 1000


def test_what_is_not_taken_is_not_made() -> None:
    made: list[int] = []
    results = shared_out(lambda item: made.append(item), range(1000), THREADS)
    next(results)
    results.close()
    assert len(made) <= 2 * THREADS + 1


def test_outside_there_is_one() -> None:
    """Where torch has its threads itself, none are left."""
    assert spare_threads() == 1
    with kernels_first():
        assert spare_threads() == kernel_threads()


@pytest.mark.parametrize("rules", ["detached", "lrp", "ordinary"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_do_not_depend_on_threads(model: Model, rules: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "FEWEST_ROWS", 1)
    monkeypatch.setattr(sweeps, "PIECE_BYTES", 1 << 15)
    options = MapOptions(dtype, rules=rules)
    counted: list[int] = []
    share = sweeps.shared_out

    def counting(*args: object) -> Iterator[Tensor]:
        counted.append(1)
        return share(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(sweeps, "shared_out", counting)

    def maps(threads: int) -> list[Tensor]:
        monkeypatch.setattr(sweeps, "spare_threads", lambda: threads)
        with torch.no_grad():
            linear = model.linearize_with((3, 1, 4, 1, 5), options)
            text = model.linearize_streams((3, 1, 4, 1, 5), options, 0)
            x = torch.randn(7, *linear.inputs.shape, generator=torch.Generator().manual_seed(0)).to(linear.inputs)
            means = text.jacobians(range(text.n_layer))
            return [linear.jacobian(), linear.matmat(x), *means.values()]

    alone = maps(1)
    assert not counted
    for one, many in zip(alone, maps(THREADS), strict=True):
        assert torch.equal(one, many)
    assert counted
