"""RWKV's mixing matrices are its recurrences, and its token shift what it says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ggufjac.operators import Center, Mix, Shift
from ggufjac.operators.wkv import BLOCK, gla_mixing, wkv6_mixing, wkv7_mixing

#: Two whole blocks, and a part of a third.
LENGTH = 2 * BLOCK + 5
HEADS, ENTRIES, WIDTH = 2, 3, 4

#: State [..., H, N, P], then w, k, a, b and r of one position, its values: what is read, and the state after it.
Step = Callable[..., tuple[Tensor, Tensor]]


class Coefficients:
    """What a layer of RWKV computes, of [..., T, H, N]: decays in (0, 1), a and b as far as states stay small."""

    def __init__(self, *lead: int, n_tokens: int = LENGTH) -> None:
        generator = torch.Generator().manual_seed(11)
        shape = (*lead, n_tokens, HEADS, ENTRIES)

        def normal() -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        self.w = torch.exp(-0.3 * normal().exp())
        self.k, self.r = normal(), normal()
        self.a = -torch.nn.functional.normalize(normal(), dim=-1)
        self.b = -self.a * normal().sigmoid()
        self.v = torch.randn(*lead, n_tokens, HEADS, WIDTH, generator=generator, dtype=torch.float64)
        self.bonus = normal()[(0,) * len(lead)][0]

    def spelled_out(self, step: Step) -> Tensor:
        """What every position reads, [..., T, H P]."""
        state = torch.zeros(*self.v.shape[:-3], HEADS, ENTRIES, WIDTH, dtype=torch.float64)
        read = []
        for t in range(self.v.shape[-3]):
            w, k, a, b, r = (x[..., t, :, :, None] for x in (self.w, self.k, self.a, self.b, self.r))
            y, state = step(state, w, k, a, b, r, self.v[..., t, :, None, :])
            read.append(y)
        return torch.stack(read, -3).flatten(-2)


def late(state: Tensor, w: Tensor, k: Tensor, a: Tensor, b: Tensor, r: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    state = w * state + k * v
    return (r * state).sum(-2), state


def early(state: Tensor, w: Tensor, k: Tensor, a: Tensor, b: Tensor, r: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return (r * state).sum(-2), w * state + k * v


def seven(state: Tensor, w: Tensor, k: Tensor, a: Tensor, b: Tensor, r: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    state = w * state + b * (a * state).sum(-2, keepdim=True) + k * v
    return (r * state).sum(-2), state


def mixed(m: Tensor, v: Tensor) -> Tensor:
    return Mix(m, HEADS).apply(v.flatten(-2))


@pytest.mark.parametrize("lead", [(), (2,)], ids=["", "batch"])
def test_mixing_matrices_are_the_recurrences_spelled_out(lead: tuple[int, ...]) -> None:
    c = Coefficients(*lead)

    def six(state: Tensor, w: Tensor, k: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        _, _, r, v = rest
        bonus = c.bonus[..., None]
        return (r * (state + bonus * k * v)).sum(-2), w * state + k * v

    for m, step in (
        (gla_mixing(c.w, c.k, c.r), late),
        (gla_mixing(c.w, c.k, c.r, early=True), early),
        (wkv6_mixing(c.w, c.k, c.r, c.bonus), six),
        (wkv7_mixing(c.w, c.k, c.a, c.b, c.r), seven),
    ):
        assert m.shape == (*lead, HEADS, LENGTH, LENGTH)
        expected = c.spelled_out(step)
        assert (mixed(m, c.v) - expected).abs().max() < 1e-12 * expected.abs().max()


@pytest.mark.parametrize("n_tokens", [1, BLOCK, BLOCK + 1])
def test_blocks_of_any_number(n_tokens: int) -> None:
    c = Coefficients(n_tokens=n_tokens)
    expected = c.spelled_out(seven)
    assert (mixed(wkv7_mixing(c.w, c.k, c.a, c.b, c.r), c.v) - expected).abs().max() < 1e-12 * expected.abs().max()


def test_what_is_forgotten_at_once_is_gone() -> None:
    """Decays of exactly 0, which no sum of logarithms could hold."""
    c = Coefficients()
    c.w[BLOCK + 3] = 0
    m = wkv6_mixing(c.w, c.k, c.r, c.bonus)
    assert torch.isfinite(m).all()
    assert not m[:, BLOCK + 4 :, : BLOCK + 3].any()
    assert m[:, BLOCK + 4 :, BLOCK + 3].all()


def test_shift_draws_every_position_to_the_one_before() -> None:
    x = torch.tensor([[1.0, 10.0], [3.0, 20.0], [7.0, 40.0]])
    assert Shift(torch.tensor([0.5, 1.0])).apply(x).tolist() == [[0.5, 0], [2, 10], [5, 20]]
    amounts = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.5]])
    assert Shift(amounts).apply(x).tolist() == [[1, 10], [1, 20], [7, 30]]


def test_groups_are_centred_on_their_own() -> None:
    assert Center(2).apply(torch.tensor([1.0, 3.0, 10.0, 20.0])).tolist() == [-1, 1, -5, 5]
