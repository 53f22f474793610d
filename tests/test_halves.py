"""float32 products made of float16 parts, as units for float16 sum them: sixteen products at a time, cutting digits
off."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import Tensor

from ggufjac.quants.device import halves, products
from ggufjac.quants.device.choice import kernels_of
from ggufjac.quants.device.halves import errs_no_more, halves_of
from ggufjac.quants.device.kernels import Kernels
from ggufjac.quants.memory.store import DeviceWeights
from ggufjac.quants.memory.threads import kernels_first
from ggufjac.quants.tensor import QuantTensor
from ggufjac.reader.types import GGMLType

M, N = 24, 40


def cut_off(exact: Tensor) -> Tensor:
    """float64 as the float32 that lies next to it towards zero."""
    rounded = exact.float()
    return torch.where(rounded.double().abs() > exact.abs(), rounded.nextafter(torch.zeros(())), rounded)


def summed_in_units(a: Tensor, b: Tensor) -> Tensor:
    total = torch.zeros(a.shape[0], b.shape[1])
    for k in range(0, a.shape[1], 16):
        total = cut_off(total.double() + a[:, k : k + 16].double() @ b[k : k + 16].double())
    return total


def error(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


@pytest.fixture
def units(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library adds what the units have summed to what was there before by float32's rules."""
    monkeypatch.setattr(halves, "_times", summed_in_units)
    monkeypatch.setattr(halves, "_add", lambda total, a, b: total.add_(summed_in_units(a, b)))


@pytest.mark.usefixtures("units")
@pytest.mark.parametrize("k", [100, 1170, 14336])
def test_long_sums_are_as_good_as_short_ones(k: int) -> None:
    x, g, w, v = torch.randn(M, k), torch.randn(M, k), torch.randn(N, k), torch.randn(k, N)
    assert error(halves.apply(halves_of(x, by_row=True), halves_of(w)), x.double() @ w.double().T) < 2e-6
    assert error(halves.adjoint(halves_of(g, by_row=True), halves_of(v)), g.double() @ v.double()) < 2e-6


@pytest.mark.usefixtures("units")
def test_sums_in_one_stretch_would_be_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = torch.randn(M, 14336), torch.randn(N, 14336)
    monkeypatch.setattr(halves, "STRETCH", 1 << 20)
    assert error(halves.apply(halves_of(x, by_row=True), halves_of(w)), x.double() @ w.double().T) > 1e-5


@pytest.mark.parametrize("n", [1, 64, 1000, 1024, 1025, 1170, 4096, 14336, 28672])
def test_stretches_are_short_and_cover_all(n: int) -> None:
    parts = list(halves.stretches(n))
    assert [k for part in parts for k in range(n)[part]] == list(range(n))
    assert all(part.stop - part.start <= halves.STRETCH for part in parts)
    assert len(parts) == -(-n // halves.STRETCH)


def test_where_torch_has_no_such_product_it_is_told() -> None:
    assert not halves.offered(torch.device("cpu"))


def test_rows_of_any_size() -> None:
    """Rows of nothing, of very small and of very large numbers, each with its own scale."""
    x = torch.randn(5, 64) * torch.tensor([0.0, 1e-38, 1e-20, 1.0, 1e30])[:, None]
    w = torch.randn(N, 64)
    found = halves.apply(halves_of(x, by_row=True), halves_of(w))
    assert not found[0].any()
    for row, exact in zip(found[1:], (x.double() @ w.double().T)[1:], strict=True):
        assert error(row, exact) < 2e-6


def test_float32_keeps_its_digits_whatever_torch_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    store = DeviceWeights(torch.device("cpu"), kernels=Kernels())
    monkeypatch.setattr(store.kernels, "apply", lambda *_: told.append(torch.get_float32_matmul_precision()))
    weight = QuantTensor("w", GGMLType.F32, 4, np.zeros((3, 16), np.uint8))
    torch.set_float32_matmul_precision("high")
    try:
        products.apply(store, weight, torch.randn(2, 4))
        with kernels_first():
            told.append(torch.get_float32_matmul_precision())
        assert told == ["highest", "highest"]
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_kernels_that_cannot_be_built_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here it is the card that is missing; elsewhere it may be a compiler."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr("ggufjac.quants.device.choice.offered", lambda _: False)
    with pytest.warns(UserWarning, match="do not run on cuda:0, torch's operations take their place: "):
        found = kernels_of.__wrapped__(torch.device("cuda:0"))
    assert type(found) is Kernels
    assert not found.fast_halves


def one_by_one(a: Tensor, b: Tensor) -> Tensor:
    """A product of float32 with one sum for each entry, as a GPU's library makes it."""
    total = torch.zeros(a.shape[0], b.shape[1])
    for column, row in zip(a.T, b, strict=True):
        total.addr_(column, row)
    return total


@pytest.mark.usefixtures("units")
def test_they_are_taken_where_they_err_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert errs_no_more(torch.device("cpu"), one_by_one)
    monkeypatch.setattr(halves, "STRETCH", 1 << 20)
    assert not errs_no_more(torch.device("cpu"), one_by_one)
