"""Building blocks of families where a number can be given by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ggufjac.families.parts import (
    Elementwise,
    LayerNorm,
    LearnedPositions,
    Linear,
    ParallelBlock,
    Part,
    Run,
    Scale,
)
from ggufjac.families.parts import Sequential as Parts
from ggufjac.families.parts.activations import Ratio, clamp, relu_squared
from ggufjac.families.parts.altup import Correct, Gather, Spread
from ggufjac.families.parts.attention import alibi_slopes
from ggufjac.families.parts.ngrams import NGrams
from ggufjac.families.parts.partialsort import partial_sorted
from ggufjac.families.parts.sparsity import LargestEntries
from ggufjac.families.parts.tokens import TokenRows
from ggufjac.network.forward import run_of
from ggufjac.operators import Operator, Residual, Select, Sequential
from ggufjac.quants.tensor import QuantTensor
from ggufjac.reader.types import GGMLType


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def test_alibi_slopes_are_those_of_the_paper() -> None:
    assert alibi_slopes(8, 8.0).tolist() == [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]
    assert alibi_slopes(2, 4.0).tolist() == [1 / 4, 1 / 16]
    six = [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]  # those of four heads, then every second one of those of eight
    assert alibi_slopes(6, 8.0).tolist() == six


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (relu_squared, lambda u: torch.relu(u) ** 2),
        (clamp(0.5), lambda u: u.clamp(-0.5, 0.5)),
    ],
    ids=["relu_squared", "clamp"],
)
def test_ratio_times_argument_is_the_activation(ratio: Ratio, expected: Ratio) -> None:
    u = torch.cat((normal(50), torch.zeros(1, dtype=torch.float64)))
    torch.testing.assert_close(u * ratio(u), expected(u), rtol=1e-15, atol=1e-15)


class KeepRows(Part):
    """A part that returns only the rows that the run asks for, as attention does."""

    mixes = True

    def __init__(self, part: Part) -> None:
        self.part = part

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op, y = self.part.build(run, x)
        if run.rows is None:
            return op, y
        select = Select(run.rows, x.shape[-2])
        return Sequential([op, select]), select.apply(y)


def norm(n: int, shift: float) -> LayerNorm:
    return LayerNorm(normal(n) + 2, normal(n) + shift, 1e-5)


@pytest.mark.parametrize("own", [False, True], ids=["one norm", "two norms"])
@pytest.mark.parametrize("rows", [None, (3, 1)], ids=["all rows", "two rows"])
def test_parallel_block_is_its_three_terms(own: bool, rows: tuple[int, ...] | None) -> None:
    x, first, second = normal(5, 6), norm(6, 0.3), norm(6, -0.7)
    attention, mlp = KeepRows(Scale(3.0)), Parts(Elementwise(relu_squared), Scale(0.5))
    run = run_of(range(5)).at(0, rows)
    op, y = ParallelBlock(first, attention, mlp, second if own else None).build(run, x)
    everywhere = run_of(range(5))
    a = 3.0 * first.value(everywhere, x)
    m = 0.5 * torch.relu((second if own else first).value(everywhere, x)) ** 2
    kept = list(range(5) if rows is None else rows)
    torch.testing.assert_close(y, (x + a + m)[kept])
    torch.testing.assert_close(op.apply(x, 1.0), y)
    assert isinstance(op, Residual)
    assert isinstance(op.skip, Residual)
    assert (op.name, op.skip.name) == ("mlp", "attn")
    torch.testing.assert_close(op.branch.apply(x, 1.0), m[kept])
    torch.testing.assert_close(op.skip.branch.apply(x, 1.0), a[kept])


def test_learned_positions_are_the_rows_of_the_positions_and_constant() -> None:
    table = np.arange(24, dtype=np.float32).reshape(8, 3)
    part = LearnedPositions(QuantTensor("p", GGMLType.F32, 3, table.view(np.uint8)))
    x = normal(4, 3)
    op, y = part.build(run_of(range(4)), x)
    torch.testing.assert_close(y, x + torch.arange(12, dtype=torch.float64).reshape(4, 3))
    torch.testing.assert_close(op.apply(x), x)


def linear(n_out: int, n_in: int, seed: int = 0) -> Linear:
    w = np.random.default_rng(seed).standard_normal((n_out, n_in)).astype(np.float32)
    return Linear(QuantTensor("w", GGMLType.F32, n_in, w.view(np.uint8)))


def test_only_entries_above_the_cut_pass_and_lose_it() -> None:
    x = normal(3, 50)
    x[0, 0] = 0
    y = LargestEntries(0.5).value(run_of(range(3)), x)
    cut = x.mean(-1, keepdim=True) + 0.5 * x.std(-1, keepdim=True)
    torch.testing.assert_close(y, torch.relu(x - cut), rtol=1e-13, atol=1e-15)
    assert 0 < (y > 0).sum() < x.numel() / 2


def test_planes_are_as_long_as_the_first_and_an_embedding_is_spread_before_it_is_read() -> None:
    run, x, d = run_of(range(3)), normal(3, 4), 4
    spread = Spread([linear(d, d, 1), linear(d, d, 2)])
    gather = Gather([linear(d, d, 3), linear(d, d, 4)], spread, d)
    op, planes = spread.build(run, x)
    lengths = planes.unflatten(-1, (3, d)).norm(dim=-1)
    torch.testing.assert_close(lengths, x.norm(dim=-1, keepdim=True).expand(3, 3))
    assert not torch.allclose(planes[:, d : 2 * d], planes[:, 2 * d :])
    torch.testing.assert_close(op.apply(x), planes)
    behind = torch.cat((planes, normal(3, 2)), -1)  # lanes that are none of the planes
    op, y = gather.build(run, behind)
    torch.testing.assert_close(op.apply(behind), y)
    op, same = gather.build(run, x)
    torch.testing.assert_close(same, y)
    torch.testing.assert_close(op.apply(x), y)
    alone = torch.cat((x, torch.zeros(3, 2 * d, dtype=x.dtype)), -1)
    torch.testing.assert_close(gather.value(run, alone), x / 3)


def test_a_correction_moves_every_plane_by_what_was_new() -> None:
    d, n = 4, 3
    router, coefficients = linear(2, d, 1), linear(n, 2, 2)
    made, planes = normal(5, d), normal(5, n * d).flip(0)
    state = torch.cat((made, planes[:, d:], planes[:, :d]), -1)
    run = run_of(range(5))
    op, y = Correct(router, coefficients, n).build(run, state)
    c = 1 + coefficients.value(run, router.value(run, made))
    expected = planes.unflatten(-1, (n, d)) + c[..., None] * (made - planes[:, :d])[:, None]
    torch.testing.assert_close(y.unflatten(-1, (n, d)), expected)
    torch.testing.assert_close(op.apply(state), y)


def test_rows_of_the_tokens_are_constant_and_read_once() -> None:
    table = np.arange(30, dtype=np.float32).reshape(5, 6)
    packed = QuantTensor("table", GGMLType.F32, 6, table.view(np.uint8))
    run, x = run_of([4, 0, 4]), normal(3, 2)
    op, y = TokenRows(packed, 2, 10.0).build(run, x)
    torch.testing.assert_close(y - x, torch.tensor([[260.0, 270.0], [20.0, 30.0], [260.0, 270.0]]).double())
    torch.testing.assert_close(op.apply(x), x)
    assert run.shared["table"].shape == (3, 6)


def test_ngrams_are_numbered_by_their_tokens_and_end_where_a_text_ends() -> None:
    factors = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
    starts, sizes, end = (0, 50, 90, 200), (37, 40, 99, 61), 7
    table = QuantTensor("table", GGMLType.F32, 1, np.arange(300, dtype=np.float32)[:, None].view(np.uint8))
    tokens = np.array([[5, 7, 7, 11, 3, 12], [1, 2, 3, 7, 5, 6]])
    # what stands before a token, by hand: itself, then the one before, then the one before that
    windows = [
        [(5, 7, 7), (7, 5, 7), (7, 7, 7), (11, 7, 7), (3, 11, 7), (12, 3, 11)],
        [(1, 7, 7), (2, 1, 7), (3, 2, 1), (7, 3, 2), (5, 7, 7), (6, 5, 7)],
    ]

    def row(window: tuple[int, ...], h: int) -> int:
        mixed = 0
        for token, factor in list(zip(window, factors, strict=True))[: 2 + h // 2]:
            mixed ^= token * factor % 2**64
        return mixed % sizes[h] + starts[h]

    expected = [[[row(window, h) for h in range(4)] for window in text] for text in windows]
    ngrams = NGrams(table, factors, starts, sizes, end)
    assert ngrams.rows(tokens).tolist() == expected
    assert ngrams.rows(tokens[0, :1]).tolist() == expected[0][:1]
    run = run_of(tokens[0].tolist())
    assert ngrams.of(run, normal(1)).tolist() == expected[0]


@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_the_largest_come_first(k: int) -> None:
    values = np.random.default_rng(3).permutation(48).reshape(6, 8)
    found = partial_sorted(values, k)
    assert np.array_equal(found, values >= np.sort(values)[:, -k][:, None])


def test_of_equals_those_come_first_that_gnus_library_leaves_there() -> None:
    """What std::partial_sort of GCC 12 gave."""
    values = np.array(
        [
            [1, 2, 3, 3, 0, 0, 3, 3, 0, 1, 3, 1, 1, 3],
            [1, 1, 2, 2, 0, 0, 3, 3, 3, 2, 3, 1, 1, 3],
            [0, 1, 0, 1, 3, 0, 1, 1, 3, 0, 2, 1, 0, 3],
        ]
    )
    for k, expected in (
        (5, [[2, 3, 6, 7, 10], [6, 7, 8, 10, 13], [1, 4, 8, 10, 13]]),
        (6, [[2, 3, 6, 7, 10, 13], [3, 6, 7, 8, 10, 13], [1, 3, 4, 8, 10, 13]]),
    ):
        assert [np.flatnonzero(row).tolist() for row in partial_sorted(values, k)] == expected
