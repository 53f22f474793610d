"""The detached map of one prompt: the whole network as a linear operator, with its analyses' raw material."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ggufjac.maps import sweeps
from ggufjac.maps.krylov import Triplets, block_krylov
from ggufjac.operators import Operator

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

#: Columns beyond k in the first Krylov block: they make convergence fast where singular values lie close.
OVERSAMPLING = 8
#: Columns among which the tokens are dealt out to check that the map reconstructs the output.
GROUPS = 16


@dataclass(frozen=True)
class SVD:
    """Singular triplets: U [..., k, d], S [..., k], V [..., k, n] (rows are vectors), residuals [..., k].

    For the combined map n = T d and V is [k, T, d]; for each token's own map the first dimension is the token's.
    Every pair (u, v) is signed so that u . y >= 0. `exact` tells whether the spectra come from the full map.
    """

    U: Tensor
    S: Tensor
    V: Tensor
    residuals: Tensor
    exact: bool

    def __iter__(self) -> Iterator[Tensor]:
        """u, s, v, residuals = m.svd(k)"""
        return iter((self.U, self.S, self.V, self.residuals))


class DetachedMap:
    """y = sum_t J_t x_t + c for one prompt, applied straight from the packed weights.

    tokens [T]; inputs x [T, d], the vectors that enter block 0; output y [d], after the output norm; logits [n_vocab].
    """

    def __init__(
        self,
        tokens: tuple[int, ...],
        inputs: Tensor,
        operators: tuple[Operator, ...],
        output: Tensor,
        logits: Tensor,
        head: Operator,
        memory: int | None = None,
    ) -> None:
        self.tokens = tokens
        self.inputs = inputs
        self.operators = operators
        self.output = output
        self.logits = logits
        self.head = head
        self.memory = sweeps.default_budget() if memory is None else memory
        self._jacobian: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(d, T, d): the output's dimension and the inputs'."""
        n_tokens, d = self.inputs.shape
        return self.output.shape[-1], n_tokens, d

    @property
    def dtype(self) -> torch.dtype:
        return self.inputs.dtype

    # --- the operator -----------------------------------------------------------------------------------------

    def matmat(self, x: Tensor) -> Tensor:
        """sum_t J_t x_t for every column: [n, T, d] -> [n, d]."""
        d, n_tokens, d_in = self.shape
        self._expect(x, (n_tokens, d_in))
        return self._chunked(x, lambda piece: sweeps.forward(self.operators, piece)[:, 0], (d,))

    def rmatmat(self, y: Tensor) -> Tensor:
        """J_t^T y for every column and token: [n, d] -> [n, T, d]."""
        d, n_tokens, d_in = self.shape
        self._expect(y, (d,))
        return self._chunked(y, lambda piece: sweeps.backward(self.operators, piece[:, None]), (n_tokens, d_in))

    def jacobian(self) -> Tensor:
        """The full map [d, T, d]: jacobian()[:, t] is J_t. One backward sweep of d columns, in pieces if need be."""
        if self._jacobian is None:
            self._jacobian = self.rmatmat(torch.eye(self.shape[0], dtype=self.dtype))
        return self._jacobian

    def to_scipy(self) -> LinearOperator:
        """The map as a scipy LinearOperator [d, T d]; a column's T d entries run over tokens first."""
        from scipy.sparse.linalg import LinearOperator

        d, n_tokens, d_in = self.shape

        def matmat(x):  # type: ignore[no-untyped-def]
            columns = torch.as_tensor(x.T.reshape(-1, n_tokens, d_in), dtype=self.dtype)
            return self.matmat(columns).T.numpy()

        def rmatmat(y):  # type: ignore[no-untyped-def]
            columns = torch.as_tensor(y.T.reshape(-1, d), dtype=self.dtype)
            return self.rmatmat(columns).reshape(-1, n_tokens * d_in).T.numpy()

        numpy_dtype = torch.empty(0, dtype=self.dtype).numpy().dtype
        return LinearOperator(
            shape=(d, n_tokens * d_in),
            dtype=numpy_dtype,
            matmat=matmat,
            rmatmat=rmatmat,
            matvec=matmat,
            rmatvec=rmatmat,
        )

    # --- exactness --------------------------------------------------------------------------------------------

    @cached_property
    def constant(self) -> Tensor:
        """c [d]: what the network's constants contribute to y; 0 in a model without biases."""
        if not any(op.affine for op in self.operators):
            return torch.zeros_like(self.output)
        zero = torch.zeros(1, *self.inputs.shape, dtype=self.dtype)
        return sweeps.forward(self.operators, zero, 1.0)[0, 0]

    def reconstruction_error(self) -> float:
        """||sum_t J_t x_t + c - y|| / ||y||.

        Every token is a column of its own; in prompts of more than GROUPS tokens, every GROUPS-th shares one. All in
        one column would only repeat the forward pass and prove nothing.
        """
        n_tokens = self.shape[1]
        groups = min(n_tokens, GROUPS)
        x = torch.zeros(groups, *self.inputs.shape, dtype=self.dtype)
        x[[t % groups for t in range(n_tokens)], range(n_tokens)] = self.inputs
        rebuilt = self.matmat(x).sum(0) + self.constant
        return float((rebuilt - self.output).norm() / self.output.norm())

    def terms(self) -> Tensor:
        """[T + 1, d]: J_t x_t for every token, and the constant last; they add up to y. A sweep of T columns."""
        n_tokens = self.shape[1]
        x = torch.zeros(n_tokens, *self.inputs.shape, dtype=self.dtype)
        x[range(n_tokens), range(n_tokens)] = self.inputs
        return torch.cat((self.matmat(x), self.constant[None]))

    def attribute(self, functionals: Tensor) -> Tensor:
        """f . J_t x_t for every functional f of y and every token, f . c last: [m, d] -> [m, T + 1].

        Each row adds up to f . y. One backward sweep of m columns, however long the prompt.
        """
        tokens = torch.einsum("mtd,td->mt", self.rmatmat(functionals), self.inputs)
        return torch.cat((tokens, (functionals @ self.constant)[:, None]), 1)

    def logit_functional(self, token: int) -> tuple[Tensor, float]:
        """(w, b): the logit of a token is w . y + b, with w [d]; whatever the head scales by is frozen into w."""
        unit = torch.zeros(1, 1, self.logits.shape[0], dtype=self.dtype)
        unit[0, 0, token] = 1
        offsets: list[float] = []
        w = self.head.adjoint(unit, lambda b: offsets.append(float(b)))
        return w[0, 0], sum(offsets)

    # --- spectra ----------------------------------------------------------------------------------------------

    def svd(
        self,
        k: int = 8,
        tokens: Literal["each", "combined"] = "combined",
        *,
        method: Literal["auto", "dense", "sweeps"] = "auto",
        tolerance: float = 1e-3,
        seed: int = 0,
    ) -> SVD:
        """The k leading triplets of every J_t, or of [J_1 ... J_T].

        The products come from sweeps over the weights, or from the full map where that is known or cheaper; `method`
        forces one of them. Residuals are ||J v - s u|| / s.
        """
        d, n_tokens, d_in = self.shape
        batch = n_tokens if tokens == "each" else 1
        block = min(d, k + OVERSAMPLING)
        dense = method == "dense" or (method == "auto" and self._dense_is_cheaper(batch * block))
        start = torch.randn(batch, block, d, generator=torch.Generator().manual_seed(seed), dtype=self.dtype)
        start[:, 0] = self.output
        if dense:
            j = self.jacobian()
            a = j.transpose(0, 1) if tokens == "each" else j.reshape(1, d, n_tokens * d_in)
            found = block_krylov(lambda x: x @ a.mT, lambda y: y @ a, start, k, tolerance=tolerance)
        elif tokens == "each":
            found = block_krylov(self._each_forward, self._each_backward, start, k, tolerance=tolerance)
        else:
            found = block_krylov(
                lambda x: self.matmat(x[0].reshape(-1, n_tokens, d_in))[None],
                lambda y: self.rmatmat(y[0]).flatten(1)[None],
                start,
                k,
                tolerance=tolerance,
            )
        return self._signed(found, tokens, dense)

    def squared_norms(self, combined: SVD, *, probes: int = 16, seed: int = 0) -> tuple[Tensor, bool]:
        """||J_t||_F^2 of every token [T], and whether they are exact.

        Exact where the full map is known. Otherwise what lies in the span of the combined map's leading left vectors
        is counted exactly and the rest is estimated from random probes y, as the mean of ||J_t^T (y - U U^T y)||^2
        (Hutchinson's estimator on what is left; one backward sweep).
        """
        if self._jacobian is not None:
            return self._jacobian.square().sum((0, 2)), True
        inside = (combined.S[:, None, None] * combined.V).square().sum((0, 2))
        generator = torch.Generator().manual_seed(seed + 1)
        y = torch.randn(probes, self.shape[0], generator=generator, dtype=self.dtype)
        outside = self.rmatmat(y - (y @ combined.U.T) @ combined.U)
        return inside + outside.square().sum((0, 2)) / probes, False

    def _signed(self, found: Triplets, tokens: str, exact: bool) -> SVD:
        sign = torch.where(found.u @ self.output < 0, -1.0, 1.0).to(self.dtype)[..., None]
        u, s, v, residuals = found.u * sign, found.s, found.v * sign, found.residuals
        if tokens == "combined":
            _, n_tokens, d_in = self.shape
            return SVD(u[0], s[0], v[0].reshape(-1, n_tokens, d_in), residuals[0], exact)
        return SVD(u, s, v, residuals, exact)

    def _dense_is_cheaper(self, columns: int) -> bool:
        """Whether d columns once cost less than `columns` columns in every sweep, and the full map fits the budget."""
        d, n_tokens, d_in = self.shape
        if self._jacobian is not None:
            return True
        usual_sweeps = 12
        fits = 4 * d * n_tokens * d_in * self.inputs.element_size() <= self.memory
        return fits and d <= usual_sweeps * columns

    def _each_forward(self, x: Tensor) -> Tensor:
        n_tokens, columns, d_in = x.shape
        spread = x.new_zeros(n_tokens, columns, n_tokens, d_in)
        spread[range(n_tokens), :, range(n_tokens)] = x
        return self.matmat(spread.flatten(0, 1)).reshape(n_tokens, columns, -1)

    def _each_backward(self, y: Tensor) -> Tensor:
        n_tokens, columns, d = y.shape
        pulled = self.rmatmat(y.reshape(-1, d)).reshape(n_tokens, columns, n_tokens, -1)
        return pulled[range(n_tokens), :, range(n_tokens)]

    # --- pieces -----------------------------------------------------------------------------------------------

    def _chunked(self, x: Tensor, sweep: Callable[[Tensor], Tensor], out_shape: tuple[int, ...]) -> Tensor:
        _, n_tokens, d_in = self.shape
        step = sweeps.columns_within(self.memory, n_tokens * d_in * x.element_size())
        if x.shape[0] <= step:
            return sweep(x)
        out = x.new_empty(x.shape[0], *out_shape)
        for start in range(0, x.shape[0], step):
            out[start : start + step] = sweep(x[start : start + step])
        return out

    def _expect(self, x: Tensor, tail: tuple[int, ...]) -> None:
        if x.shape[1:] != tail:
            raise ValueError(f"expected blocks of shape [n, {', '.join(map(str, tail))}], got {list(x.shape)}")
        if x.dtype != self.dtype:
            raise ValueError(f"this map was made in {self.dtype}; the block is {x.dtype}")
