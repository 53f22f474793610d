"""Files that memory does not hold: what is read ahead, what stays, what is let go, and that results do not change."""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from conftest import PATIENCE
from ggufjac.maps.model import Model
from ggufjac.network.forward import propagate, run_of
from ggufjac.operators.walk import weights
from ggufjac.quants.memory.devices import available_memory
from ggufjac.quants.memory.pages import Pages
from ggufjac.quants.memory.readahead import REQUEST, Readahead
from ggufjac.reader import GGUFFile
from tinymodels import make

MIB = 1 << 20
PROMPT = [1, 504, 7362, 282, 260]
linux = pytest.mark.skipif(sys.platform != "linux", reason="the page cache is looked at with Linux's mincore")


def resident(data: NDArray[np.uint8]) -> float:
    """The share of the array's pages that the system has in memory."""
    start = data.ctypes.data // mmap.PAGESIZE * mmap.PAGESIZE
    pages = -(-(data.ctypes.data + data.nbytes - start) // mmap.PAGESIZE)
    seen = np.zeros(pages, np.uint8)
    where = seen.ctypes.data_as(ctypes.c_void_p)
    assert ctypes.CDLL(None).mincore(ctypes.c_void_p(start), ctypes.c_size_t(pages * mmap.PAGESIZE), where) == 0
    return float((seen & 1).mean())


@pytest.fixture
def alone(smollm2_path: Path, tmp_path: Path) -> Iterator[Model]:
    """A real model in a file that no other process has mapped, on the disk and out of memory."""
    path = tmp_path / "model.gguf"
    shutil.copyfile(smollm2_path, path)
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    with Model.open(path) as model:
        for name in model.file.tensors:
            model.file.drop(name)
        if resident(model.file.data("blk.3.ffn_up.weight")) > 0.5:
            pytest.skip("this file system keeps its files in memory")
        yield model


# --- the choice ---------------------------------------------------------------------------------------------------


def pages_of(sizes: list[int]) -> tuple[Pages, list[list[str]]]:
    """The pages of a file with one tensor per layer, and one more tensor."""
    tensors = {f"blk.{i}": SimpleNamespace(nbytes=size) for i, size in enumerate(sizes)}
    file = SimpleNamespace(size=sum(sizes) + 1, tensors=tensors | {"other": SimpleNamespace(nbytes=1)})
    return Pages(cast(GGUFFile, file)), [[f"blk.{i}"] for i in range(len(sizes))]


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=60), st.integers(0, 20_000))
def test_what_stays_fits_and_is_spread_evenly(sizes: list[int], room: int) -> None:
    pages, layers = pages_of(sizes)
    pages.arrange(layers, room)
    if sum(sizes) + 1 <= room:
        assert not any(pages.passes(name) for names in [*layers, ["other"]] for name in names)
        return
    assert pages.passes("other")
    share, met, kept = min(1.0, room / sum(sizes)), 0, 0
    for (name,), size in zip(layers, sizes, strict=True):
        met += size
        kept += 0 if pages.passes(name) else size
        assert share * met - max(sizes) <= kept <= share * met  # at any depth, within one layer of its share
    assert kept <= room


def test_equal_layers_alternate() -> None:
    pages, layers = pages_of([10] * 12)
    pages.arrange(layers, 60)
    assert [pages.passes(name) for (name,) in layers] == [True, False] * 6
    pages.arrange(layers, 1000)
    assert not any(pages.passes(name) for (name,) in layers)


# --- the page cache -----------------------------------------------------------------------------------------------


@linux
def test_readahead_brings_all_that_is_asked_for(alone: Model) -> None:
    asked = [alone.file.data(f"blk.{i}.ffn_{kind}.weight") for i in range(4) for kind in ("up", "gate")]
    assert sum(data.nbytes for data in asked) > 16 * REQUEST
    with Readahead() as ahead:
        asked_for = threading.Event()
        ahead.ask(asked)
        ahead.later(asked_for.set)
        assert asked_for.wait(PATIENCE)
    end = time.monotonic() + PATIENCE
    while min(map(resident, asked)) < 1:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_requests_are_no_longer_than_the_system_honours() -> None:
    """Linux cuts a longer one to the device's read-ahead, and says nothing."""
    asked = [np.zeros(n, np.uint8) for n in (1, REQUEST, 3 * REQUEST + 5)]
    met: list[tuple[int, int]] = []
    with Readahead() as ahead:
        ahead._madvise = lambda start, length, advice: met.append((start.value, length.value))
        asked_for = threading.Event()
        ahead.ask(asked)
        ahead.later(asked_for.set)
        assert asked_for.wait(PATIENCE)
    assert all(0 < length <= REQUEST for _, length in met)
    requests = iter(met)
    for data in asked:
        at, end = data.ctypes.data // mmap.PAGESIZE * mmap.PAGESIZE, data.ctypes.data + data.nbytes
        while at < end:
            start, length = next(requests)
            assert start == at
            at += length
        assert at == end
    assert not list(requests)


def test_no_thread_starts_where_nothing_is_asked_for() -> None:
    """As in every sweep over weights that are all on a device."""
    with Readahead() as ahead:
        ahead.ask([])
        ahead.leave([])
        assert ahead._pool is None


@linux
def test_what_is_dropped_leaves_memory(alone: Model) -> None:
    name = "blk.7.ffn_down.weight"
    data = alone.file.data(name)
    total = int(data.sum())
    assert resident(data) == 1
    alone.file.drop(name)
    assert (
        resident(data) < 0.3
    )  # the system keeps its own large pages whole: those at the ends are shared with neighbours
    assert int(data.sum()) == total


def test_layers_that_memory_does_not_hold_are_let_go_after_every_visit(
    smollm2_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, dropped = 16 * MIB, list[str]()

    def drop(file: GGUFFile, name: str) -> None:
        dropped.append(name)

    monkeypatch.setattr(GGUFFile, "drop", drop)
    with Model.open(smollm2_path) as model:
        whole = model.linearize(PROMPT, memory=memory)  # in the same pieces, whose sums have the same bits
        pulled, sizes = whole.rmatmat(torch.eye(576)[:3]), [w.nbytes for op in whole.operators for w in weights(op)]
        pushed = whole.matmat(pulled)
        assert dropped == []
        monkeypatch.setattr("ggufjac.maps.model.available_memory", lambda: memory + sum(sizes) // 2)
        linear = model.linearize(PROMPT, memory=memory)
        met = [weight for op in linear.operators for weight in weights(op)]
        passing = [weight.name for weight in met if weight.passes]
        assert 0.4 < sum(weight.nbytes for weight in met if weight.passes) / sum(sizes) < 0.6
        # the pass that made the coefficients read every tensor of every layer, and the head's matrix
        staying = {weight.name for weight in met} - set(passing)
        read = {name for name in model.file.tensors if name.startswith("blk.")} | {"token_embd.weight"}
        assert sorted(dropped) == sorted(read - staying)
        for sweep, expected in (
            (lambda: linear.rmatmat(torch.eye(576)[:3]), pulled),
            (lambda: linear.matmat(pulled), pushed),
        ):
            dropped.clear()
            torch.testing.assert_close(sweep(), expected, rtol=0, atol=0)
            assert sorted(dropped) == sorted(passing)
        torch.testing.assert_close(linear.logits, whole.logits, rtol=0, atol=0)


def test_a_block_that_is_passed_again_is_read_ahead_and_let_go_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nanbeige's three passes through two blocks: at every layer the next two are asked for, where there are any."""
    asked, dropped = list[set[int]](), list[str]()

    def ask(ahead: Readahead, packed: Iterable[NDArray[np.uint8]]) -> None:
        asked.append({data.ctypes.data for data in packed})

    def drop(file: GGUFFile, name: str) -> None:
        dropped.append(name)

    monkeypatch.setattr(Readahead, "ask", ask)
    monkeypatch.setattr(GGUFFile, "drop", drop)
    with Model.open(make("nanbeige", tmp_path / "tiny.gguf", loops=3)) as model:
        model.family.source.pages.arrange([["output.weight"]], 0)
        propagate(model.family, run_of([1, 2]), model.embed([1, 2], torch.float32))
        blocks = [[name for name in model.file.tensors if name.startswith(f"blk.{i}.")] for i in (0, 1)]
        first, second = (
            {model.file.data(name).ctypes.data for name in names if "norm" not in name} for names in blocks
        )
        assert asked == [first | second] * 4 + [second, set()]
        assert sorted(name for name in dropped if name.startswith("blk.")) == sorted(3 * (blocks[0] + blocks[1]))


@linux
def test_memory_that_holds_the_file_lets_nothing_go(alone: Model) -> None:
    available = available_memory()
    assert available is not None
    assert 0 < available < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    linear = alone.linearize(PROMPT, memory=MIB)
    assert not any(weight.passes for op in linear.operators for weight in weights(op))
    assert resident(alone.file.data("blk.7.attn_q.weight")) > 0.9
