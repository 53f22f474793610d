"""Mixing matrices of heads in which every entry of a key decays in its own way: gated linear attention, RWKV 6 and 7.

A head's state S_t [N, P] is what `recurrence` describes, with a decay w_t [N] in (0, 1) for each of its N rows. What
a query takes from a key is

    sum_i q_t[i] (w_t[i] ... w_{s+1}[i]) k_s[i].

Decays are only ever multiplied, never divided by, so nothing overflows however much is forgotten. Within a block of
positions the keys decay from one to the next. What lies before the block has decayed up to its first position, the
queries take on what decays from there, and what is left is a product of matrices.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

#: Positions of a block: the work within grows with it, that with the keys before it shrinks.
BLOCK = 16


class _Block:
    """The keys of B positions as they decay; w and k [..., B, H, N].

    keys: as the state holds them before the first position and after each one, [..., 0 to B, H, N]; left: what is then
    left of an entry that was there before, [..., 1, H, N].
    """

    def __init__(self, w: Tensor, k: Tensor) -> None:
        self.keys = [k[..., :0, :, :]]
        self.left = [torch.ones_like(w[..., :1, :, :])]
        for decay, key in zip(w.split(1, -3), k.split(1, -3), strict=True):
            self.keys.append(torch.cat((self.keys[-1] * decay, key), -3))
            self.left.append(self.left[-1] * decay)

    def read(self, q: Tensor, before: Tensor, *, early: bool) -> Tensor:
        """[..., H, B, S + B]: what q takes from the keys before the block, and from those of the block.

        q [..., B, H, N]; before [..., S, H, N], decayed up to the block. early: a position reads the state before it
        changes.
        """
        n = q.shape[-3]
        queries = q.split(1, -3)
        met = slice(0, n) if early else slice(1, n + 1)
        near = [(keys * query).sum(-1) for keys, query in zip(self.keys[met], queries, strict=True)]
        inside = torch.stack([F.pad(x, (0, 0, 0, n - x.shape[-2])) for x in near], -3).movedim(-1, -3)
        decayed = torch.cat([query * left for left, query in zip(self.left[met], queries, strict=True)], -3)
        return torch.cat((torch.einsum("...thi,...shi->...hts", decayed, before), inside), -1)


def gla_mixing(w: Tensor, k: Tensor, q: Tensor, *, early: bool = False) -> Tensor:
    """M [..., H, T, T] of gated linear attention (Yang et al., arXiv 2312.06635), with all of them [..., T, H, N]:

    S_t = diag(w_t) S_{t-1} + k_t v_t^T and y_t = S_t^T q_t, or S_{t-1}^T q_t where the state is read `early`.
    """
    rows, before = [], k[..., :0, :, :]
    for w_b, k_b, q_b in _blocks(w, k, q):
        block = _Block(w_b, k_b)
        rows.append(block.read(q_b, before, early=early))
        before = torch.cat((before * block.left[-1], block.keys[-1]), -3)
    return _square(rows)


def wkv6_mixing(w: Tensor, k: Tensor, r: Tensor, bonus: Tensor) -> Tensor:
    """M [..., H, T, T] of RWKV 6 (Peng et al., arXiv 2404.05892); bonus [H, N], the others [..., T, H, N]:

    S_t = diag(w_t) S_{t-1} + k_t v_t^T and y_t = (S_{t-1} + diag(bonus) k_t v_t^T)^T r_t.
    """
    own = (r * bonus * k).sum(-1).mT
    return gla_mixing(w, k, r, early=True) + torch.diag_embed(own)


def wkv7_mixing(w: Tensor, k: Tensor, a: Tensor, b: Tensor, r: Tensor) -> Tensor:
    """M [..., H, T, T] of RWKV 7 (Peng et al., arXiv 2503.14456), with all of them [..., T, H, N]:

    S_t = diag(w_t) S_{t-1} + b_t (S_{t-1}^T a_t)^T + k_t v_t^T and y_t = S_t^T r_t. Within a block, what the state
    answers to a is Z = H + G Z, where a takes H from the keys and G from the b of earlier positions: a triangular
    system. The answers are written with b, so r takes from every key what it takes from it alone, and Z through b.
    """
    rows, before, none = [], k[..., :0, :, :], b[..., :0, :, :]
    for w_b, k_b, a_b, b_b, r_b in _blocks(w, k, a, b, r):
        keys, written = _Block(w_b, k_b), _Block(w_b, b_b)
        g, through = written.read(a_b, none, early=True), written.read(r_b, none, early=False)
        system = torch.eye(g.shape[-1], dtype=g.dtype, device=g.device) - g
        h = keys.read(a_b, before, early=True)
        z: Tensor = torch.linalg.solve_triangular(system, h, upper=False, unitriangular=True)
        rows.append(keys.read(r_b, before, early=False) + through @ z)
        before = torch.cat((before * keys.left[-1], keys.keys[-1]), -3)
        before = before + torch.einsum("...hts,...thi->...shi", z, written.keys[-1])
    return _square(rows)


def _blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors [..., T, H, N], block by block."""
    return zip(*(x.split(BLOCK, -3) for x in tensors), strict=True)


def _square(rows: list[Tensor]) -> Tensor:
    """[..., H, T, T] from the rows of every block, which end at its last position."""
    n = rows[-1].shape[-1]
    return torch.cat([F.pad(x, (0, n - x.shape[-1])) for x in rows], -2)
