"""The detached map as an operator: its products, its pieces, its spectra, on a small model with biases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import IDS
from ggufjac.errors import UserError
from ggufjac.families.parts import Run
from ggufjac.maps.detached import DetachedMap
from ggufjac.maps.linear import LinearMap
from ggufjac.maps.model import Model
from ggufjac.network.forward import propagate, run_of
from ggufjac.rules import PRESETS

T = len(IDS)


@pytest.fixture(scope="module")
def exact(tiny: Model) -> DetachedMap:
    return tiny.linearize(IDS, dtype=torch.float64)


@pytest.fixture(scope="module")
def jacobian(exact: DetachedMap) -> Tensor:
    return exact.jacobian()


def columns(n: int, *shape: int) -> Tensor:
    return torch.randn(n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(n))


def test_the_terms_add_up_to_the_output(tiny: Model, exact: DetachedMap) -> None:
    terms = exact.terms()
    assert terms.shape == (T + 1, tiny.family.d)
    torch.testing.assert_close(terms.sum(0), exact.output, rtol=1e-11, atol=1e-12)
    functionals = columns(3, tiny.family.d)
    torch.testing.assert_close(exact.attribute(functionals), functionals @ terms.T, rtol=1e-10, atol=1e-11)
    assert exact.constant.norm() > 0.1 * exact.output.norm()  # the biases of this model matter
    assert exact.reconstruction_error() < 1e-13
    assert tiny.linearize(IDS).reconstruction_error() < 1e-5


def test_a_wrong_coefficient_shows(tiny: Model) -> None:
    """The reconstruction error is measured: with one layer's operator exchanged, it is large."""
    linear = tiny.linearize(IDS)
    other = tiny.linearize([*IDS[:-1], 77])
    mixed = LinearMap(linear.inputs, (other.operators[0], *linear.operators[1:]), linear.output)
    assert mixed.reconstruction_error() > 1e-2


def test_the_jacobian_is_autograds(tiny: Model, exact: DetachedMap, jacobian: Tensor) -> None:
    """The same graph with its coefficients detached, differentiated by torch."""
    run: Run = run_of(IDS, attached=True)

    def output(x: Tensor) -> Tensor:
        return propagate(tiny.family, run, x).output[0]

    reference = torch.autograd.functional.jacobian(output, exact.inputs)
    torch.testing.assert_close(jacobian, reference, rtol=1e-9, atol=1e-11)


def test_the_ordinary_jacobian_is_autograds_and_differs(tiny: Model, exact: DetachedMap, jacobian: Tensor) -> None:
    ordinary = tiny.linearize(IDS, dtype=torch.float64, rules="ordinary")

    def output(x: Tensor) -> Tensor:
        return propagate(tiny.family, run_of(IDS, attached=True, rules=PRESETS["ordinary"]), x).output[0]

    reference = torch.autograd.functional.jacobian(output, exact.inputs)
    y = columns(3, tiny.family.d)
    x = columns(2, T, tiny.family.d)
    torch.testing.assert_close(ordinary.rmatmat(y), torch.einsum("nd,dte->nte", y, reference), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(ordinary.matmat(x), torch.einsum("nte,dte->nd", x, reference), rtol=1e-8, atol=1e-10)
    step = 1e-6
    moved = output(exact.inputs + step * x[0]) - output(exact.inputs - step * x[0])
    torch.testing.assert_close(ordinary.matmat(x)[0], moved / (2 * step), rtol=1e-5, atol=1e-6)
    assert (reference - jacobian).norm() > 0.1 * jacobian.norm()


def test_products_are_those_of_the_full_map(exact: DetachedMap, jacobian: Tensor) -> None:
    x, y = columns(5, T, exact.shape[2]), columns(4, exact.shape[0])
    torch.testing.assert_close(exact.matmat(x), torch.einsum("nte,dte->nd", x, jacobian))
    torch.testing.assert_close(exact.rmatmat(y), torch.einsum("nd,dte->nte", y, jacobian))
    left = (exact.matmat(x)[:4] * y).sum(-1)
    right = (x[:4] * exact.rmatmat(y)).sum((1, 2))
    torch.testing.assert_close(left, right, rtol=1e-11, atol=1e-11)


def test_intervening_on_the_input_moves_the_frozen_network_as_predicted(tiny: Model, exact: DetachedMap) -> None:
    """Adding a vector to one token's embedding moves the frozen network's output by J_t times that vector."""
    delta = torch.zeros(1, T, exact.shape[2], dtype=torch.float64)
    delta[0, 3] = columns(1, exact.shape[2])[0]
    moved = (exact.inputs + delta[0])[None]
    for op in exact.operators:
        moved = op.apply(moved, 1.0)
    torch.testing.assert_close(moved[0, 0], exact.output + exact.matmat(delta)[0], rtol=1e-11, atol=1e-11)


def test_scipy_sees_the_same_operator(exact: DetachedMap, jacobian: Tensor) -> None:
    from scipy.sparse.linalg import svds

    operator = exact.to_scipy()
    dense = jacobian.flatten(1).numpy()
    assert operator.shape == dense.shape
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(dense.shape[1]), rng.standard_normal((dense.shape[0], 2))
    np.testing.assert_allclose(operator @ x, dense @ x, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(operator.T @ y, dense.T @ y, rtol=1e-9, atol=1e-9)
    values = svds(operator, k=3, return_singular_vectors=False)
    np.testing.assert_allclose(np.sort(values)[::-1], np.linalg.svd(dense, compute_uv=False)[:3], rtol=1e-8)


@pytest.mark.parametrize("method", ["dense", "sweeps"])
def test_combined_svd(exact: DetachedMap, jacobian: Tensor, method: str) -> None:
    found = exact.svd(6, "combined", method=method)  # type: ignore[arg-type]
    dense = jacobian.flatten(1)
    true = np.linalg.svd(dense.numpy(), compute_uv=False)[:6]
    np.testing.assert_allclose(found.S.numpy(), true, rtol=1e-4)
    image = torch.einsum("kte,dte->kd", found.V, jacobian)
    residuals = (image - found.S[:, None] * found.U).norm(dim=-1) / found.S
    torch.testing.assert_close(found.residuals, residuals, rtol=1e-3, atol=1e-9)
    assert residuals.max() <= 1e-3
    assert (found.U @ exact.output).min() >= 0
    assert found.V.shape == (6, T, exact.shape[2])


@pytest.mark.parametrize("method", ["dense", "sweeps"])
def test_svd_of_each_token(exact: DetachedMap, jacobian: Tensor, method: str) -> None:
    found = exact.svd(4, "each", method=method)  # type: ignore[arg-type]
    for t in range(T):
        true = np.linalg.svd(jacobian[:, t].numpy(), compute_uv=False)[:4]
        np.testing.assert_allclose(found.S[t].numpy(), true, rtol=1e-4)
        image = found.V[t] @ jacobian[:, t].T
        residuals = (image - found.S[t][:, None] * found.U[t]).norm(dim=-1) / found.S[t]
        assert residuals.max() <= 1e-3
    assert (found.U @ exact.output).min() >= 0


def test_seeds_only_move_the_last_digits(exact: DetachedMap) -> None:
    u, s, v, residuals = exact.svd(2)
    assert (u.shape, s.shape, v.shape, residuals.shape) == ((2, exact.shape[0]), (2,), (2, *exact.shape[1:]), (2,))
    first, again, other = (exact.svd(5, method="sweeps", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.U, again.U)
    torch.testing.assert_close(first.S, other.S, rtol=1e-5, atol=0)


def test_a_small_budget_gives_the_same_map_in_pieces(tiny: Model, jacobian: Tensor) -> None:
    column = T * tiny.family.d * 8
    small = tiny.linearize(IDS, dtype=torch.float64, memory=2 * 7 * column)
    torch.testing.assert_close(small.jacobian(), jacobian, rtol=1e-11, atol=1e-12)
    with pytest.raises(UserError, match="smallest is"):
        tiny.linearize(IDS, dtype=torch.float64, memory=column).jacobian()


def test_squared_norms(tiny: Model, jacobian: Tensor) -> None:
    true = jacobian.square().sum((0, 2))
    fresh = tiny.linearize(IDS, dtype=torch.float64)
    estimate, exactly = fresh.squared_norms(fresh.svd(8, method="sweeps"), probes=64)
    assert not exactly
    np.testing.assert_allclose(estimate.numpy(), true.numpy(), rtol=0.25)
    fresh.jacobian()
    known, exactly = fresh.squared_norms(fresh.svd(8))
    assert exactly
    torch.testing.assert_close(known, true, rtol=1e-10, atol=0)


def test_the_functional_of_a_logit(exact: DetachedMap) -> None:
    for token in (0, 17, 300):
        w, b = exact.logit_functional(token)
        assert float(w @ exact.output) + b == pytest.approx(float(exact.logits[token]), rel=1e-12)


def test_both_paths_reconstruct_and_differ(tiny: Model, jacobian: Tensor) -> None:
    gate = tiny.linearize(IDS, dtype=torch.float64, rules="gate")
    assert gate.reconstruction_error() < 1e-13
    assert (gate.jacobian() - jacobian).norm() > 0.1 * jacobian.norm()


def test_blocks_that_do_not_fit_are_refused(exact: DetachedMap) -> None:
    with pytest.raises(ValueError, match="expected blocks of shape"):
        exact.matmat(columns(2, T - 1, exact.shape[2]))
    with pytest.raises(ValueError, match="float32"):
        exact.rmatmat(columns(2, exact.shape[0]).float())


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "empty"),
        ([], "no tokens"),
        ([5, 99999], "no token 99999"),
        ([-1], "no token -1"),
        ([5] * 2000, "shorten it"),
    ],
)
def test_prompts_that_cannot_be(tiny: Model, prompt: str | list[int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny.linearize(prompt)


def test_a_single_token(tiny: Model) -> None:
    linear = tiny.linearize([17], dtype=torch.float64)
    assert linear.reconstruction_error() < 1e-13
    assert linear.svd(3, "each").S.shape == (1, 3)


def test_several_prompts_share_one_model(tiny: Model) -> None:
    first = tiny.linearize(IDS).output
    tiny.linearize(IDS[:4]).svd(2)
    assert torch.equal(tiny.linearize(IDS).output, first)


def test_bfloat16_is_a_quick_look(tiny: Model) -> None:
    exact, quick = tiny.linearize(IDS), tiny.linearize(IDS, dtype=torch.bfloat16)
    assert 1e-5 < quick.reconstruction_error() < 5e-2
    a, b = exact.svd(4, method="sweeps"), quick.svd(4, method="sweeps")
    assert b.U.dtype == torch.float32
    torch.testing.assert_close(b.S, a.S, rtol=5e-2, atol=0)
    assert b.residuals.max() < 0.1
