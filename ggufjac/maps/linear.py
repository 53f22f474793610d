"""A network, or a part of one, at one prompt as a linear map from the token vectors to one vector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ggufjac.maps import sweeps
from ggufjac.maps.spectra.krylov import Triplets, block_krylov
from ggufjac.maps.swept import GROUPS, SweptMap, relative_error
from ggufjac.operators import Operator
from ggufjac.quants.memory.budget import Budget, columns_within

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

#: Columns of a Krylov block beyond k at most, and columns of one at least: they make convergence fast where singular
#: values lie close. Rows of all columns together from which on products no longer wait for the weights; beyond them
#: every further column takes its time, and a narrow block converges with fewer columns in all (measured: 112 for 192).
#: Never fewer than k: a value that occurs several times would be found as often as a block has columns.
OVERSAMPLING, NARROWEST, ENOUGH_ROWS = 8, 8, 32
#: Residuals of triplets that are good enough: singular values are right to the square. The second is for bfloat16, the
#: third where the full map is at hand and its products cost little.
TOLERANCE, ROUGH, FINE = 1e-3, 5e-2, 1e-4
#: Columns in all after which the search ends, in multiples of the widest block.
LONGEST = 16
#: Random vectors from which norms are estimated.
PROBES = 16


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

    def arrays(self, name: str) -> dict[str, Tensor]:
        """U, S and V under a name."""
        return {f"{name}.U": self.U, f"{name}.S": self.S, f"{name}.V": self.V}

    def cpu(self) -> SVD:
        """The same on the CPU."""
        return SVD(self.U.cpu(), self.S.cpu(), self.V.cpu(), self.residuals.cpu(), self.exact)


def usual_sweeps(columns: int) -> int:
    """Sweeps that triplets usually take with blocks of so many columns, forwards and backwards together (measured)."""
    return 10 + 2 * (32 // columns)


class LinearMap(SweptMap):
    """y = sum_t J_t x_t + c, straight from the packed weights: operators in a row, the last one giving one row.

    output y [n_out]: what the operators make of the inputs. inputs, budget, blocks: as in `SweptMap`.
    """

    def __init__(
        self,
        inputs: Tensor,
        operators: Sequence[Operator],
        output: Tensor,
        budget: Budget | None = None,
        blocks: torch.dtype | None = None,
    ) -> None:
        super().__init__(inputs, operators, output.shape[-1], budget, blocks)
        self.output = output
        self._jacobian: Tensor | None = None

    def _random(self, seed: int, *shape: int) -> Tensor:
        """Normal numbers that are the same on every device."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(*shape, generator=generator, dtype=self.dtype).to(self.device)

    # --- the operator -----------------------------------------------------------------------------------------

    def matmat(self, x: Tensor) -> Tensor:
        """sum_t J_t x_t for every column: [n, T, d] -> [n, d]."""
        d, n_tokens, d_in = self.shape
        self._expect(x, (n_tokens, d_in))

        def sweep(piece: slice) -> Tensor:
            y = sweeps.forward(self.operators, x[piece].to(self._inside), None, self.room, self.passed)
            return y[:, 0].to(self.dtype)

        return self._chunked(len(x), sweep, (d,))

    def rmatmat(self, y: Tensor) -> Tensor:
        """J_t^T y for every column and token: [n, d] -> [n, T, d]."""
        d, n_tokens, d_in = self.shape
        self._expect(y, (d,))

        def sweep(piece: slice) -> Tensor:
            x = sweeps.backward(self.operators, y[piece, None].to(self._inside), self.room, passed=self.passed)
            return x.to(self.dtype)

        return self._chunked(len(y), sweep, (n_tokens, d_in))

    def jacobian(self) -> Tensor:
        """The full map [d, T, d]: jacobian()[:, t] is J_t. One backward sweep of d columns, in pieces if need be.

        Where the device does not hold it, it lies in the host's memory or on disk.
        """
        if self._jacobian is None:
            self._jacobian = self.rmatmat(torch.eye(self.shape[0], dtype=self.dtype, device=self.device))
        return self._jacobian

    def to_scipy(self) -> LinearOperator:
        """The map as a scipy LinearOperator [d, T d]; a column's T d entries run over tokens first."""
        from scipy.sparse.linalg import LinearOperator

        d, n_tokens, d_in = self.shape

        def matmat(x):  # type: ignore[no-untyped-def]
            columns = torch.as_tensor(x.T.reshape(-1, n_tokens, d_in), dtype=self.dtype, device=self.device)
            return self.matmat(columns).T.cpu().numpy()

        def rmatmat(y):  # type: ignore[no-untyped-def]
            columns = torch.as_tensor(y.T.reshape(-1, d), dtype=self.dtype, device=self.device)
            return self.rmatmat(columns).reshape(-1, n_tokens * d_in).T.cpu().numpy()

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
        zero = self.inputs.new_zeros(1, *self.inputs.shape)
        return sweeps.forward(self.operators, zero.to(self._inside), 1.0, self.room)[0, 0].to(self.dtype)

    def reconstruction(self, groups: int = GROUPS) -> Tensor:
        """sum_t J_t x_t + c [d], which should be y. Tokens are dealt out among so many columns."""
        return self.matmat(self._dealt(groups)).sum(0) + self.constant

    def reconstruction_error(self) -> float:
        """||sum_t J_t x_t + c - y|| / ||y||, with the sum as in `reconstruction`."""
        return float(relative_error(self.reconstruction(), self.output))

    def terms(self) -> Tensor:
        """[T + 1, d]: J_t x_t for every token, and the constant last; they add up to y. A sweep of T columns."""
        return torch.cat((self.each_matmat(self.inputs[:, None])[:, 0], self.constant[None]))

    def attribute(self, functionals: Tensor) -> Tensor:
        """f . J_t x_t for every functional f of y and every token, f . c last: [m, d] -> [m, T + 1].

        Each row adds up to f . y. One backward sweep of m columns, however long the prompt.
        """
        tokens = torch.einsum("mtd,td->mt", self.rmatmat(functionals), self.inputs)
        return torch.cat((tokens, (functionals @ self.constant)[:, None]), 1)

    # --- spectra ----------------------------------------------------------------------------------------------

    def svd(
        self,
        k: int = 8,
        tokens: Literal["each", "combined"] = "combined",
        *,
        method: Literal["auto", "dense", "sweeps"] = "auto",
        tolerance: float | None = None,
        seed: int = 0,
    ) -> SVD:
        """The k leading triplets of every J_t, or of [J_1 ... J_T].

        The products come from sweeps over the weights, or from the full map where that is known or cheaper; `method`
        forces one of them. Residuals are ||J v - s u|| / s; tolerance: what they should come below (None: 1e-3, 1e-4
        with the full map, or what the precision of the blocks allows).
        """
        d, n_tokens, d_in = self.shape
        batch = n_tokens if tokens == "each" else 1
        block = self.block(k, tokens)
        dense = method == "dense" or (method == "auto" and self.dense_is_cheaper(block, batch))
        if dense:  # its products cost little, however many columns there are
            block = min(d, k + OVERSAMPLING)
        if tolerance is None:
            tolerance = ROUGH if self.blocks is not None else FINE if dense else TOLERANCE
        start = self._random(seed, batch, block, d)
        start[:, 0] = self.output
        most = -(-LONGEST * (k + OVERSAMPLING) // block)
        if dense:
            j = self.jacobian()
            start = start.to(j.device)  # a full map that lies on the disk is the CPU's
            a = j.transpose(0, 1) if tokens == "each" else j.reshape(1, d, n_tokens * d_in)
            start = start.to(j.device)
            found = block_krylov(lambda x: x @ a.mT, lambda y: y @ a, start, k, tolerance=tolerance, max_blocks=most)
        elif tokens == "each":
            found = block_krylov(self.each_matmat, self.each_rmatmat, start, k, tolerance=tolerance, max_blocks=most)
        else:
            found = block_krylov(
                lambda x: self.matmat(x[0].reshape(-1, n_tokens, d_in))[None],
                lambda y: self.rmatmat(y[0]).flatten(1)[None],
                start,
                k,
                tolerance=tolerance,
                max_blocks=most,
            )
        return self._signed(found, tokens, dense)

    def block(self, k: int, tokens: Literal["each", "combined"] = "combined") -> int:
        """How many columns a sweep of the search for k triplets takes, of each token's map or of all together."""
        d, n_tokens, _ = self.shape
        rows = n_tokens * n_tokens if tokens == "each" else n_tokens
        # on a device the weights are expanded anew for every sweep, so that columns are cheap there
        enough = -(-ENOUGH_ROWS // rows) if self.device.type in ("cpu", "meta") else k + OVERSAMPLING
        return min(d, k + OVERSAMPLING, max(k, NARROWEST, enough))

    def squared_norms(self, combined: SVD, *, probes: int = PROBES, seed: int = 0) -> tuple[Tensor, bool]:
        """||J_t||_F^2 of every token [T], and whether they are exact.

        Exact where the full map is known. Otherwise what lies in the span of the combined map's leading left vectors
        is counted exactly and the rest is estimated from random probes y, as the mean of ||J_t^T (y - U U^T y)||^2
        (Hutchinson's estimator on what is left; one backward sweep).
        """
        if self._jacobian is not None:
            return self._jacobian.square().sum((0, 2)).to(self.device), True
        inside = (combined.S[:, None, None] * combined.V).square().sum((0, 2))
        y = self._random(seed + 1, probes, self.shape[0])
        outside = self.rmatmat(y - (y @ combined.U.T) @ combined.U)
        return inside + outside.square().sum((0, 2)) / probes, False

    def _signed(self, found: Triplets, tokens: str, exact: bool) -> SVD:
        u, s, v, residuals = (x.to(self.device) for x in (found.u, found.s, found.v, found.residuals))
        sign = torch.where(u @ self.output < 0, -1.0, 1.0).to(self.dtype)[..., None]
        u, v = u * sign, v * sign
        if tokens == "combined":
            _, n_tokens, d_in = self.shape
            return SVD(u[0], s[0], v[0].reshape(-1, n_tokens, d_in), residuals[0], exact)
        return SVD(u, s, v, residuals, exact)

    def dense_is_cheaper(self, block: int, batch: int = 1) -> bool:
        """Whether d columns once cost less than blocks for so many maps in every sweep, and the full map fits."""
        d, n_tokens, d_in = self.shape
        if self._jacobian is not None:
            return True
        fits = 4 * d * n_tokens * d_in * self.inputs.element_size() <= self.budget.map
        return fits and d <= usual_sweeps(block) * block * batch

    def each_matmat(self, x: Tensor) -> Tensor:
        """J_t x_t for columns of every token alone: [T, n, d] -> [T, n, d]. A sweep of T n columns."""
        n_tokens, columns, d_in = x.shape
        out = x.new_empty(n_tokens, columns, self.shape[0])
        for part in self._tokens_at_once(columns):
            spread = x.new_zeros(len(part), columns, n_tokens, d_in)
            spread[range(len(part)), :, part] = x[part]
            out[part] = self.matmat(spread.flatten(0, 1)).unflatten(0, (len(part), columns))
        return out

    def each_rmatmat(self, y: Tensor) -> Tensor:
        """J_t^T y_t for columns that differ from token to token: [T, n, d] -> [T, n, d]. A sweep of T n columns."""
        n_tokens, columns, d = y.shape
        out = y.new_empty(n_tokens, columns, self.shape[2])
        for part in self._tokens_at_once(columns):
            pulled = self.rmatmat(y[part].reshape(-1, d)).unflatten(0, (len(part), columns))
            out[part] = pulled[range(len(part)), :, part]
        return out

    def _tokens_at_once(self, columns: int) -> Iterator[list[int]]:
        """The tokens in groups whose columns, `columns` each, fill half the budget at most."""
        n_tokens = self.shape[1]
        column = self.inputs.numel() * self.inputs.element_size()
        step = max(1, columns_within(self.room // 2, column) // columns)
        for start in range(0, n_tokens, step):
            yield list(range(start, min(start + step, n_tokens)))
