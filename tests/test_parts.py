"""Building blocks of families where a number can be given by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ggufjac.families.parts import Elementwise, LayerNorm, LearnedPositions, Parallel, Part, Run, Then, Times
from ggufjac.families.parts.activations import Ratio, clamp, relu_squared
from ggufjac.families.parts.attention import alibi_slopes
from ggufjac.maps.passes import run_of
from ggufjac.operators import Chain, Operator, Residual, Select
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

    narrows = True

    def __init__(self, part: Part) -> None:
        self.part = part

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op, y = self.part.build(run, x)
        if run.rows is None:
            return op, y
        select = Select(run.rows, x.shape[-2])
        return Chain([op, select]), select.apply(y)


def norm(n: int, shift: float) -> LayerNorm:
    return LayerNorm(normal(n) + 2, normal(n) + shift, 1e-5)


@pytest.mark.parametrize("own", [False, True], ids=["one norm", "two norms"])
@pytest.mark.parametrize("rows", [None, (3, 1)], ids=["all rows", "two rows"])
def test_parallel_block_is_its_three_terms(own: bool, rows: tuple[int, ...] | None) -> None:
    x, first, second = normal(5, 6), norm(6, 0.3), norm(6, -0.7)
    attention, mlp = KeepRows(Times(3.0)), Then(Elementwise(relu_squared), Times(0.5))
    run = run_of(5).at(0, rows)
    op, y = Parallel(first, attention, mlp, second if own else None).build(run, x)
    everywhere = run_of(5)
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
    op, y = part.build(run_of(4), x)
    torch.testing.assert_close(y, x + torch.arange(12, dtype=torch.float64).reshape(4, 3))
    torch.testing.assert_close(op.apply(x), x)
