"""Linear recurrences over positions whose coefficients are frozen: the operator that scans, and mixing matrices.

A head's state S_t [N, P] decays, takes in the position's value and is read:

    S_t = diag(a_t) S_{t-1} + b_t v_t^T        y_t = S_t^T c_t

so y_t = sum_{s <= t} M[t, s] v_s with M[t, s] = sum_i c_t[i] (a_t[i] ... a_{s+1}[i]) b_s[i]. Where heads are few and
wide, M [n_head, T, T] itself is the cheapest form, and `Mix` applies it (the duality of Dao and Gu, arXiv 2405.21060).
Where every channel decays in its own way (Mamba 1), M would have T^2 entries per channel, and `Scan` keeps the
coefficients.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally
from ggufjac.quants.memory.devices import widened


class Scan(Operator):
    """y[t, h] = sum_i c[t, i] S_t[h, i], S_t[h, i] = exp(log_a[t, h, i]) S_{t-1}[h, i] + b[t, i] v[t, h].

    One state of N entries per channel; log_a = step[t, h] * rate[h, i]. step [..., T, H], rate [H, N], b and c
    [..., T, N]; blocks v [..., T, H] -> [..., T, H]. Leading dimensions of the coefficients, if any, are those of the
    block. Only these are kept, so memory grows with T, not with T N H.
    """

    def __init__(self, step: Tensor, rate: Tensor, b: Tensor, c: Tensor) -> None:
        self.step = step
        self.rate = rate
        self.b = b
        self.c = c

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        out = []
        state: Tensor | None = None
        for t in range(x.shape[-2]):
            new = x[..., t, :, None] * self.b[..., t, None, :]
            state = new if state is None else state * self._decay(t) + new
            out.append((state * self.c[..., t, None, :]).sum(-1))
        return torch.stack(out, -2)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        out = []
        state: Tensor | None = None
        for t in reversed(range(g.shape[-2])):
            new = g[..., t, :, None] * self.c[..., t, None, :]
            state = new if state is None else state * self._decay(t + 1) + new
            out.append((state * self.b[..., t, None, :]).sum(-1))
        return torch.stack(out[::-1], -2)

    def _decay(self, t: int) -> Tensor:
        """[..., H, N]: what the state keeps from t - 1 to t."""
        return torch.exp(self.step[..., t, :, None] * self.rate)


def decays(log_a: Tensor) -> Tensor:
    """L[h, t, s] = a_t ... a_{s+1} for s <= t, else 0: log_a [..., T, H] -> [..., H, T, T].

    Differences of sums lose digits where much has decayed, so the sums are float64.
    """
    total = widened(log_a).cumsum(-2).mT
    n_tokens = total.shape[-1]
    later = torch.ones(n_tokens, n_tokens, dtype=torch.bool, device=total.device).triu(1)
    difference = (total[..., :, None] - total[..., None, :]).masked_fill(later, -torch.inf)
    return difference.exp().to(log_a)


def decayed_mixing(log_a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """M [..., H, T, T] of heads that decay as a whole: log_a [..., T, H], b and c [..., T, H, N]."""
    return torch.einsum("...thi,...shi->...hts", c, b) * decays(log_a)


def delta_mixing(log_a: Tensor, beta: Tensor, k: Tensor, q: Tensor) -> Tensor:
    """M [..., H, T, T] of the gated delta rule (Yang et al., arXiv 2412.06464).

    S_t = a_t (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T and y_t = S_t^T q_t: what a position writes is its value
    less what the state already answers to its key, u_t = beta_t (v_t - a_t S_{t-1}^T k_t). With L the decays this is
    (I + diag(beta) strict_lower(L * K K^T)) U = diag(beta) V, a triangular system, and Y = (L * Q K^T) U.
    log_a and beta [..., T, H]; k and q [..., T, H, N].
    """
    kept = decays(log_a)
    b = beta.mT
    inner = torch.einsum("...thi,...shi->...hts", k, k) * kept * b[..., None]
    system = inner.tril(-1) + torch.eye(inner.shape[-1], dtype=k.dtype, device=k.device)
    reads = torch.einsum("...thi,...shi->...hts", q, k) * kept
    read: Tensor = torch.linalg.solve_triangular(system, reads, upper=False, left=False, unitriangular=True)
    return read * b[..., None, :]
