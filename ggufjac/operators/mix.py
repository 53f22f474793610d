"""Mixing over positions with frozen attention probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally


class Mix(Operator):
    """y[q, h] = sum_k P[h, q, k] v[k, h // group]: heads share the values of their group.

    P [..., n_head, Tq, Tk]; blocks v [..., Tk, n_head_kv * d_v] -> y [..., Tq, n_head * d_v]. Leading dimensions of P,
    if any, are those of the block (a batch of prompts, as when derivatives are taken through the probabilities).
    """

    def __init__(self, p: Tensor, n_head_kv: int) -> None:
        n_head = p.shape[-3]
        if n_head % n_head_kv:
            raise ValueError(f"{n_head} heads cannot share {n_head_kv} key/value heads evenly")
        self.p = p.unflatten(-3, (n_head_kv, n_head // n_head_kv))  # [..., kv, group, q, k]

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        v = x.unflatten(-1, (self.p.shape[-4], -1))  # [..., k, kv, d]
        if self.p.dim() == 4:
            flat = v.reshape(-1, *v.shape[-3:])
            y = torch.einsum("hgqk,nkhd->nqhgd", self.p, flat)
            y = y.reshape(*v.shape[:-3], *y.shape[1:])
        else:
            y = torch.einsum("...hgqk,...khd->...qhgd", self.p, v)
        return y.flatten(-3)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        kv, group = self.p.shape[-4], self.p.shape[-3]
        y = g.unflatten(-1, (kv, group, -1))  # [..., q, kv, group, d]
        if self.p.dim() == 4:
            flat = y.reshape(-1, *y.shape[-4:])
            v = torch.einsum("hgqk,nqhgd->nkhd", self.p, flat)
            v = v.reshape(*y.shape[:-4], *v.shape[1:])
        else:
            v = torch.einsum("...hgqk,...qhgd->...khd", self.p, y)
        return v.flatten(-2)
