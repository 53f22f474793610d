"""Attention over long prompts is multiplied block by block, and gives what it gives as a whole."""

from __future__ import annotations

import pytest
import torch

from ggufjac.operators import Attend, Pick
from ggufjac.operators.attend import Shares
from ggufjac.operators.causal import QUERIES, blocks, is_causal

N_KV, GROUP, D = 2, 3, 4


def attend(n: int, *, causal: bool, bent: bool) -> Attend:
    generator = torch.Generator().manual_seed(n)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    later = torch.ones(n, n, dtype=torch.bool).triu(1)
    scores = normal(N_KV * GROUP, n, n)
    p = (scores.masked_fill(later, -torch.inf) if causal else scores).softmax(-1)
    widths = N_KV * GROUP * D, N_KV * D, N_KV * D
    starts = 0, widths[0], widths[0] + widths[1]
    ways = [Pick(torch.arange(a, a + w), sum(widths)) for a, w in zip(starts, widths, strict=True)]
    values = normal(n, N_KV * GROUP, D), normal(n, N_KV, D), normal(n, N_KV, D)
    slope = normal(N_KV * GROUP, n, n) if bent else None
    return Attend(*ways, *values, p, 0.3, slope, Shares(0.5, 0.5, 0.5))


@pytest.mark.parametrize("bent", [False, True])
def test_blocks_give_what_the_whole_gives(bent: bool) -> None:
    n = 2 * QUERIES + 37
    op = attend(n, causal=True, bent=bent)
    assert op.causal
    whole = attend(n, causal=True, bent=bent)
    whole.causal = False
    x = torch.randn(2, n, N_KV * (GROUP + 2) * D, dtype=torch.float64)
    y = torch.randn(2, n, N_KV * GROUP * D, dtype=torch.float64)
    assert (op.apply(x) - whole.apply(x)).abs().max() < 1e-12
    assert (op.adjoint(y) - whole.adjoint(y)).abs().max() < 1e-12
    assert (op.apply(x) * y).sum() == pytest.approx(float((x * op.adjoint(y)).sum()), rel=1e-10)


def test_what_looks_ahead_is_one_block() -> None:
    n = QUERIES + 5
    assert not attend(n, causal=False, bent=False).causal
    assert not is_causal(torch.ones(1, 3, 3).tril())
    late = torch.ones(1, n, n).tril()
    assert is_causal(late)
    late[0, 3, n - 1] = 0.5
    assert not is_causal(late)
    assert blocks(late, False) == [(slice(0, n), n)]
    assert blocks(late, True) == [(slice(0, QUERIES), QUERIES), (slice(QUERIES, n), n)]
