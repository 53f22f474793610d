"""Block Krylov triplets against numpy.linalg.svd on dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ggufjac.maps.spectra.krylov import Triplets, block_krylov


def spectrum(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    if kind == "decaying":
        return 10.0 * 0.7 ** np.arange(n)
    if kind == "flat":
        return np.sort(rng.uniform(0.9, 1.0, n))[::-1]
    if kind == "repeated":
        return np.repeat([5.0, 5.0, 3.0, 3.0, 1.0, 0.5], n // 6 + 1)[:n]
    return np.where(np.arange(n) < 3, 4.0 - np.arange(n), 0.0)  # rank 3


def matrix(kind: str, d: int, n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    u, _ = np.linalg.qr(rng.standard_normal((d, min(d, n))))
    v, _ = np.linalg.qr(rng.standard_normal((n, min(d, n))))
    return (u * spectrum(kind, min(d, n), rng)) @ v.T


def run(a: Tensor, k: int, seed: int = 0, **options: float) -> Triplets:
    """The triplets of a batch a [B, d, n]."""
    start = torch.randn(a.shape[0], k + 8, a.shape[1], dtype=a.dtype, generator=torch.Generator().manual_seed(seed))
    return block_krylov(lambda x: x @ a.mT, lambda y: y @ a, start, k, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["decaying", "flat", "repeated", "rank 3"])
@pytest.mark.parametrize(("d", "n"), [(60, 200), (120, 90), (6, 5)])
def test_values_and_residuals_are_those_of_the_dense_svd(kind: str, d: int, n: int, dtype: torch.dtype) -> None:
    dense = matrix(kind, d, n, 1)
    k = min(4, d)
    found = run(torch.as_tensor(dense[None], dtype=dtype), k, max_blocks=40)
    true = np.linalg.svd(dense, compute_uv=False)[:k]
    np.testing.assert_allclose(found.s[0].numpy(), true, rtol=1e-4, atol=1e-4 * true[0])
    for i in range(k):
        if true[i] < 1e-9:
            assert found.s[0, i] < 1e-5
            continue
        u, s, v = (x[0, i].double().numpy() for x in (found.u, found.s, found.v))
        residual = np.linalg.norm(dense @ v - s * u) / s
        assert found.residuals[0, i] == pytest.approx(residual, abs=1e-5)
        assert residual <= 1e-3
        assert np.linalg.norm(dense.T @ u - s * v) / s < 1e-3


def test_vectors_are_orthonormal_and_the_batch_is_independent() -> None:
    a = torch.as_tensor(np.stack([matrix("decaying", 80, 50, seed) for seed in range(3)]))
    found = run(a, 5)
    eye = torch.eye(5, dtype=a.dtype).expand(3, 5, 5)
    torch.testing.assert_close(found.u @ found.u.mT, eye, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.v @ found.v.mT, eye, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.s, torch.linalg.svdvals(a)[:, :5], rtol=1e-6, atol=0)


@settings(max_examples=30)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 12), st.integers(0, 99))
def test_any_shape(d: int, n: int, k: int, seed: int) -> None:
    a = torch.as_tensor(np.random.default_rng(seed).standard_normal((1, d, n)))
    found = run(a, k, seed)
    true = torch.linalg.svdvals(a)[0]
    shared = min(k, len(true))
    torch.testing.assert_close(found.s[0, :shared], true[:shared], rtol=1e-4, atol=1e-6 * float(true[0]))
    assert found.s.shape[1] == min(k, d)
    assert float(found.s[0, shared:].abs().sum()) < 1e-5


def test_a_map_that_is_zero() -> None:
    found = run(torch.zeros(1, 20, 30), 3)
    assert found.s.abs().max() == 0
    assert torch.isinf(found.residuals).all()
    assert torch.isfinite(found.v).all()


def test_stopping_early_is_reported_honestly() -> None:
    """A flat spectrum after one block: the values are wrong, and the residuals say so."""
    dense = matrix("flat", 200, 200, 3)
    found = run(torch.as_tensor(dense[None]), 4, max_blocks=1)
    true = np.linalg.svd(dense, compute_uv=False)[:4]
    assert np.abs(found.s[0].numpy() - true).max() > 1e-3
    assert found.residuals.min() > 0.05
    assert found.sweeps == 2
