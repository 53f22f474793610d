"""Every operator is affine, and its adjoint is the transpose of its linear part."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ggufjac.families.parts.moe import Routing
from ggufjac.operators import (
    Attend,
    Behind,
    Bias,
    Blend,
    Center,
    Convolve,
    Derivative,
    Dot,
    Heads,
    Identity,
    Inside,
    MatMul,
    Mix,
    Operator,
    Outer,
    Pad,
    Parallel,
    Pick,
    Pool,
    Reject,
    Residual,
    Rotate,
    Routed,
    Scale,
    Scan,
    Select,
    Sequential,
    Shares,
    Shift,
    Slice,
    Stack,
    Transposed,
    Weigh,
    Whole,
)
from ggufjac.operators.fold import PerToken, fold
from ggufjac.operators.preceded import PAST, Preceded
from ggufjac.operators.recurrence import decayed_mixing, decays, delta_mixing
from ggufjac.operators.routed import routes_of
from ggufjac.quants import native
from ggufjac.quants.tensor import QuantTensor
from ggufjac.reader.types import INTEGERS, GGMLType

DTYPES = (torch.float32, torch.float64)
PACKED = [kind for kind in GGMLType if kind not in INTEGERS]


WHOLE = Shares(1, 1, 1)


class Draw:
    """Random tensors and operators of the given sizes: T positions, n entries."""

    def __init__(self, seed: int, dtype: torch.dtype, n_tokens: int, n: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.rng = np.random.default_rng(seed)
        self.dtype = dtype
        self.n_tokens = n_tokens
        self.n = n

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=self.dtype)

    def matmul(self, n_out: int | None = None) -> MatMul:
        w = self.rng.standard_normal((n_out or self.n, self.n)).astype(np.float32)
        return MatMul(QuantTensor("w", GGMLType.F32, self.n, w.view(np.uint8)))

    def probabilities(self, *lead: int, heads: int, rows: int | None = None) -> Tensor:
        return self.normal(*lead, heads, rows or self.n_tokens, self.n_tokens).softmax(-1)

    def scan(self) -> Scan:
        """Two entries per channel, each with a decay of its own."""
        steps, rates = self.normal(self.n_tokens, self.n).exp(), -self.normal(self.n, 2).exp()
        return Scan(steps, rates, self.normal(self.n_tokens, 2), self.normal(self.n_tokens, 2))

    def delta(self, *lead: int) -> Tensor:
        """The mixing matrices of two heads with keys of three entries."""
        shape = (*lead, self.n_tokens, 2)
        k, q = self.normal(*shape, 3), self.normal(*shape, 3)
        return delta_mixing(-self.normal(*shape).exp(), self.normal(*shape).sigmoid(), k, q)

    def mlp(self) -> Sequential:
        wide = self.rng.standard_normal((2 * self.n, self.n)).astype(np.float32)
        up = QuantTensor("up", GGMLType.F32, self.n, wide.view(np.uint8))
        down = QuantTensor("down", GGMLType.F32, 2 * self.n, np.ascontiguousarray(wide.T).view(np.uint8))
        coefficient = Scale(self.normal(self.n_tokens, 2 * self.n))
        return Sequential(
            [MatMul(up), Bias(self.normal(2 * self.n)), coefficient, MatMul(down), Bias(self.normal(self.n))]
        )

    def square(self) -> MatMul:
        w = self.rng.standard_normal((self.n, 32)).astype(np.float32)
        return MatMul(QuantTensor("w", GGMLType.F32, 32, w.view(np.uint8)))

    def rotate(self, n_rot: int, offset: int = 0) -> Rotate:
        angles = self.normal(self.n_tokens, 1, n_rot // 2)
        return Rotate(1.1 * angles.cos(), 1.1 * angles.sin(), "halves" if offset else "adjacent", offset)

    def attend(self, heads: int = 2, rows: int | None = None, shares: Shares = WHOLE) -> Attend:
        """Two heads of keys and values, whose projections have biases; a sink takes half of the probability."""
        n_q, d, d_v, t = rows or self.n_tokens, 3, 2, self.n_tokens
        keep: Operator = Identity() if rows is None else Select(range(rows), t)
        made = [Sequential([self.matmul(n), Bias(self.normal(n))]) for n in (heads * d, 2 * d, 2 * d_v)]
        p = 0.5 * self.probabilities(heads=heads, rows=n_q)
        q, k, v = self.normal(n_q, heads, d), self.normal(t, 2, d), self.normal(t, 2, d_v)
        slope = self.normal(heads, n_q, t)
        return Attend(Sequential([keep, made[0]]), made[1], made[2], q, k, v, p, 0.7, slope, shares)

    def routed_by_weight(self) -> Routed:
        """What the weights of three experts bring, two of them for each token; the first expert is behind them."""
        chosen = torch.stack([torch.randperm(3, generator=self.generator)[:2] for _ in range(self.n_tokens)])
        routes: list[tuple[Tensor, Operator]] = []
        for number, tokens, rank in routes_of(chosen):
            weigh = Weigh(rank, self.n, self.normal(len(tokens), self.n))
            routes.append((tokens, weigh if number else Sequential([weigh, self.matmul()])))
        return Routed(routes, (self.n_tokens,), self.n, self.n)

    def routed(self) -> Routed:
        """Three experts, two for each token, every expert with a bias."""
        chosen = torch.stack([torch.randperm(3, generator=self.generator)[:2] for _ in range(self.n_tokens)])
        weights = self.normal(self.n_tokens, 2)
        routes = [
            (tokens, Sequential([self.matmul(), Bias(self.normal(self.n)), Scale(weights[tokens, rank, None])]))
            for _, tokens, rank in routes_of(chosen)
        ]
        return Routed(routes, (self.n_tokens,), self.n, self.n)


MAKERS: dict[str, Callable[[Draw], Operator]] = {
    "identity": lambda d: Identity(),
    "scale": lambda d: Scale(d.normal(d.n_tokens, d.n)),
    "scale by one number": lambda d: Scale(d.normal(1)[0]),
    "center": lambda d: Center(),
    "center, groups": lambda d: Center(2),
    "bias": lambda d: Bias(d.normal(d.n)),
    "bias per position": lambda d: Bias(d.normal(d.n_tokens, d.n)),
    "select": lambda d: Select([d.n_tokens - 1, 0], d.n_tokens),
    "pick": lambda d: Pick(torch.tensor([d.n - 1, 0]), d.n),
    "matmul": lambda d: d.matmul(5),
    "mix": lambda d: Mix(d.probabilities(heads=2), 2),
    "mix, shared values": lambda d: Mix(d.probabilities(heads=6), 2),
    "mix, some rows": lambda d: Mix(d.probabilities(heads=4, rows=1), 1),
    "convolve": lambda d: Convolve(d.normal(d.n, 3)),
    "scan": lambda d: d.scan(),
    "mix, delta rule": lambda d: Mix(d.delta(), 2),
    "shift": lambda d: Shift(d.normal(d.n)),
    "shift per position": lambda d: Shift(d.normal(d.n_tokens, d.n)),
    "per token": lambda d: PerToken(d.normal(d.n_tokens, 3, d.n)),
    "routed": lambda d: d.routed(),
    "chain": lambda d: Sequential([Scale(d.normal(d.n)), d.mlp(), Sequential([Center(), Bias(d.normal(d.n))])]),
    "sum": lambda d: Parallel([d.mlp(), Scale(d.normal(d.n)), Bias(d.normal(d.n))]),
    "residual": lambda d: Residual(d.mlp(), Identity(), "mlp"),
    "residual, narrowed": lambda d: Residual(
        Sequential([Select([0], d.n_tokens), Bias(d.normal(d.n))]), Select([0], d.n_tokens), "attn"
    ),
    "slice": lambda d: Slice(1, d.n, d.n),
    "place": lambda d: Pad(1, d.n + 1, d.n + 3),
    "stack": lambda d: Stack([d.mlp(), Slice(1, d.n, d.n), Identity()], [d.n, d.n - 1, d.n]),
    "inside": lambda d: Inside(
        Sequential([Stack([Identity(), Scale(d.normal(1))], [1, 1]), Bias(d.normal(d.n_tokens, 2))]), 1, 2, 2
    ),
    "reject": lambda d: Reject(d.normal(d.n_tokens, d.n)),
    "reject, groups": lambda d: Reject(d.normal(d.n_tokens, d.n), 2),
    "heads": lambda d: Heads(Sequential([d.rotate(d.n // 2), Scale(d.normal(2, d.n // 2)), Bias(d.normal(1))]), 2),
    "rotate, some of a head": lambda d: Heads(d.rotate(2 * ((d.n - 1) // 2), offset=1), 1),
    "dot and outer": lambda d: Sequential([Dot(d.normal(d.n)), Outer(d.normal(d.n_tokens, 3))]),
    "transposed": lambda d: Transposed(d.square()),
    "attend": lambda d: d.attend(),
    "attend, shared keys": lambda d: d.attend(heads=6, shares=Shares(0.5, 0.5, 0.5)),
    "attend, some rows": lambda d: d.attend(rows=1),
    "derivative": lambda d: Derivative(torch.tanh, d.normal(d.n_tokens, d.n)),
    "derivative, constants": lambda d: Derivative(torch.exp, d.normal(d.n_tokens, d.n), Bias(d.normal(d.n))),
    "routed by weight": lambda d: d.routed_by_weight(),
    "blend": lambda d: Blend(d.normal(d.n_tokens, 3, 2)),
    "pool": lambda d: Pool(d.normal(d.n_tokens // 2, 2, d.n), 2, d.n_tokens),
    "pool, two lanes": lambda d: Pool(d.normal(d.n_tokens, 2, d.n // 2), 1, d.n_tokens),
    "behind": lambda d: Behind([d.mlp(), Sequential([Select([0], d.n_tokens), Bias(d.normal(d.n))])], [d.n_tokens, 1]),
    "whole": lambda d: Whole(d.mlp()),
    "write into a lane": lambda d: Residual(
        Sequential([Slice(0, 1, d.n), Bias(d.normal(1)), Pad(1, 2, d.n)]), Identity(), "mlp"
    ),
}

sizes = given(
    seed=st.integers(0, 2**31),
    n_tokens=st.integers(1, 5),
    n=st.sampled_from([2, 4, 8]),
    columns=st.sampled_from([(), (1,), (3,), (2, 3)]),
)


def close(a: Tensor | float, b: Tensor | float, dtype: torch.dtype) -> None:
    a, b = torch.as_tensor(a, dtype=dtype), torch.as_tensor(b, dtype=dtype)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
class TestEveryOperator:
    @sizes
    @settings(max_examples=15)
    def test_adjoint_is_the_transpose(
        self,
        make: Callable[[Draw], Operator],
        dtype: torch.dtype,
        seed: int,
        n_tokens: int,
        n: int,
        columns: tuple[int],
    ) -> None:
        draw = Draw(seed, dtype, n_tokens, n)
        op = make(draw)
        x = draw.normal(*columns, n_tokens, n)
        y = op.apply(x)
        g = draw.normal(*y.shape)
        back = op.adjoint(g)
        assert y.dtype == back.dtype == dtype
        assert back.shape == x.shape
        close((y * g).sum((-2, -1)), (x * back).sum((-2, -1)), dtype)

    @sizes
    @settings(max_examples=15)
    def test_one_carries_the_constant(
        self,
        make: Callable[[Draw], Operator],
        dtype: torch.dtype,
        seed: int,
        n_tokens: int,
        n: int,
        columns: tuple[int],
    ) -> None:
        """apply(x, one) = A x + one * b, also with another `one` for every column; tallies add up to <g, b>."""
        draw = Draw(seed, dtype, n_tokens, n)
        op = make(draw)
        zero = torch.zeros(n_tokens, n, dtype=dtype)
        assert not op.apply(zero).any()
        b = op.apply(zero, 1.0)
        assert bool(b.any()) == op.affine
        x, one = draw.normal(*columns, n_tokens, n), draw.normal(*columns, 1, 1)
        linear = op.apply(x)
        close(op.apply(x, one) - linear, (one * b).expand_as(linear), dtype)
        g = draw.normal(*linear.shape)
        tallies: list[Tensor] = []
        with_tally = op.adjoint(g, lambda _, worth: tallies.append(worth))
        close(with_tally, op.adjoint(g), dtype)
        assert all(tally.shape[:-1] == columns and tally.shape[-1] in (1, n_tokens) for tally in tallies)
        total = sum((tally.sum(-1) for tally in tallies), torch.zeros(columns, dtype=dtype))
        close(total, (g * b).sum((-2, -1)), dtype)

    @sizes
    @settings(max_examples=10)
    def test_columns_do_not_mix(
        self,
        make: Callable[[Draw], Operator],
        dtype: torch.dtype,
        seed: int,
        n_tokens: int,
        n: int,
        columns: tuple[int],
    ) -> None:
        draw = Draw(seed, dtype, n_tokens, n)
        op = make(draw)
        x = draw.normal(4, n_tokens, n)
        close(op.apply(x)[2], op.apply(x[2]), dtype)
        g = draw.normal(*op.apply(x).shape)
        close(op.adjoint(g)[1], op.adjoint(g[1]), dtype)


# --- what each one computes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", PACKED, ids=lambda kind: kind.name)
def test_matmul_is_the_product_with_the_dequantised_matrix(kind: GGMLType, dtype: torch.dtype) -> None:
    w, dense = packed(kind, 6, 512)
    op = MatMul(w)
    x, g = Draw(1, dtype, 3, 512).normal(2, 3, 512), Draw(2, dtype, 3, 6).normal(2, 3, 6)
    exact = dense.double()
    y, back = op.apply(x).double(), op.adjoint(g).double()
    rounding = 1e-6 if dtype == torch.float32 else 1e-14
    x, g = x.double(), g.double()
    assert (y - x @ exact.T).abs().max() < rounding * (x.abs() @ exact.abs().T).max()
    assert (back - g @ exact).abs().max() < rounding * (g.abs() @ exact.abs()).max()
    assert abs((y * g).sum() - (x * back).sum()) < rounding * (x.abs() @ exact.abs().T * g.abs()).sum()


def packed(kind: GGMLType, n_out: int, n_in: int) -> tuple[QuantTensor, Tensor]:
    """Random blocks of a type as a matrix, and the same matrix expanded."""
    rng = np.random.default_rng(kind)
    values = rng.standard_normal((n_out, n_in)).astype(np.float32)
    plain = {
        GGMLType.F64: values.astype(np.float64),
        GGMLType.F32: values,
        GGMLType.F16: values.astype(np.float16),
        GGMLType.BF16: (values.view(np.uint32) >> 16).astype(np.uint16),
    }
    if kind in plain:
        data = plain[kind].view(np.uint8)
    else:
        n_blocks = n_out * n_in // kind.block
        blocks = rng.integers(0, 256, (4 * n_blocks, kind.block_bytes), dtype=np.uint8)
        finite = np.isfinite(native.dequantize(kind, blocks)).all(-1)  # a scale's bytes may say inf or nan
        data = blocks[finite][:n_blocks].reshape(n_out, -1)
    return QuantTensor("w", kind, n_in, data), torch.from_numpy(native.dequantize(kind, data))


def test_pool_takes_the_block_before_from_the_first_lane() -> None:
    """11 positions make two blocks of 4, of which the first has none before it."""
    draw = Draw(4, torch.float64, 11, 6)
    w, x, g = draw.normal(2, 8, 3), draw.normal(11, 6), draw.normal(2, 3)
    op = Pool(w, 4, 11)
    first = (w[0, 4:] * x[:4, 3:]).sum(0)
    second = (w[1, :4] * x[:4, :3]).sum(0) + (w[1, 4:] * x[4:8, 3:]).sum(0)
    close(op.apply(x), torch.stack((first, second)), torch.float64)
    close((op.apply(x) * g).sum(), (x * op.adjoint(g)).sum(), torch.float64)


@pytest.mark.parametrize("lead", [(), (2,)], ids=["", "batch"])
@pytest.mark.parametrize(("heads", "kv"), [(4, 4), (4, 2), (3, 1)])
def test_mix_shares_values_among_the_heads_of_a_group(heads: int, kv: int, lead: tuple[int, ...]) -> None:
    draw = Draw(3, torch.float64, 5, 6)
    p = draw.probabilities(*lead, heads=heads, rows=2)
    v = draw.normal(*(lead or (7,)), 5, kv * 6)
    op = Mix(p, kv)
    y = op.apply(v).unflatten(-1, (heads, 6))
    for n in range(v.shape[0]):
        for head in range(heads):
            own = p[n, head] if lead else p[head]
            group = head // (heads // kv)
            close(y[n, :, head], own @ v[n].unflatten(-1, (kv, 6))[:, group], torch.float64)
    g = draw.normal(*op.apply(v).shape)
    close((op.apply(v) * g).sum((-2, -1)), (v * op.adjoint(g)).sum((-2, -1)), torch.float64)


@pytest.mark.parametrize("shape", [(5,), (2, 5)], ids=["one text", "two"])
def test_a_routes_constant_is_told_at_the_tokens_that_take_it(shape: tuple[int, ...]) -> None:
    draw, tokens = Draw(5, torch.float64, 5, 4), torch.tensor([1, 3])
    bias = draw.normal(4)
    op = Routed([(tokens, Bias(bias, "of an expert"))], shape, 4, 4)
    g = draw.normal(3, *shape, 4)
    told: dict[str, Tensor] = {}
    op.adjoint(g, told.__setitem__)
    expected = torch.zeros(3, *shape, dtype=torch.float64)
    expected.flatten(1)[:, tokens] = (g.flatten(1, -2)[:, tokens] * bias).sum(-1)
    close(told["of an expert"], expected, torch.float64)


def test_positions_before_are_told_where_they_are() -> None:
    draw = Draw(6, torch.float64, 3, 4)
    past = draw.normal(2, 4)
    g = draw.normal(7, 5, 4)
    told: dict[str, Tensor] = {}
    Preceded(past).adjoint(g, told.__setitem__)
    close(told[PAST][:, :2], (g[:, :2] * past).sum(-1), torch.float64)
    assert not told[PAST][:, 2:].any()


def test_mix_refuses_heads_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="3 heads cannot share 2"):
        Mix(torch.ones(3, 1, 1), 2)


def test_chain_applies_the_first_operator_first_and_is_flat() -> None:
    draw = Draw(4, torch.float64, 2, 4)
    scale, product = Scale(draw.normal(4)), draw.matmul()
    op = Sequential([Sequential([scale]), Sequential([product, Center()])])
    assert len(op.operators) == 3
    x = draw.normal(2, 4)
    close(op.apply(x), Center().apply(product.apply(x * scale.s)), torch.float64)


def test_select_takes_rows_in_the_given_order() -> None:
    x = torch.arange(6.0).reshape(3, 2)
    assert Select([2, 0], 3).apply(x).tolist() == [[4, 5], [0, 1]]
    assert Select([2], 3).adjoint(torch.ones(1, 2)).tolist() == [[0, 0], [0, 0], [1, 1]]


# --- recurrences ----------------------------------------------------------------------------------------------


def test_convolve_reaches_back_as_far_as_it_has_taps() -> None:
    op = Convolve(torch.tensor([[100.0, 10.0, 1.0]]))
    x = torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None]
    assert op.apply(x)[:, 0].tolist() == [1, 12, 123, 234]
    assert op.adjoint(torch.eye(4)[3][:, None])[:, 0].tolist() == [0, 100, 10, 1]


@pytest.mark.parametrize("lead", [(), (2,)], ids=["", "batch"])
def test_scan_is_the_recurrence_spelled_out(lead: tuple[int, ...]) -> None:
    draw = Draw(8, torch.float64, 6, 4)
    step, rate = draw.normal(*lead, 6, 4).exp(), -draw.normal(4, 3).exp()
    b, c, v = draw.normal(*lead, 6, 3), draw.normal(*lead, 6, 3), draw.normal(*(lead or (5,)), 6, 4)
    op = Scan(step, rate, b, c)
    state, y = torch.zeros(*v.shape[:-2], 4, 3, dtype=v.dtype), op.apply(v)
    for t in range(6):
        decay = (step[..., t, :, None] * rate).exp()
        state = decay * state + torch.einsum("...h,...i->...hi", v[..., t, :], b[..., t, :].expand(*v.shape[:-2], 3))
        close(y[..., t, :], torch.einsum("...hi,...i->...h", state, c[..., t, :].expand(*v.shape[:-2], 3)), v.dtype)
    g = draw.normal(*y.shape)
    close((y * g).sum((-2, -1)), (v * op.adjoint(g)).sum((-2, -1)), v.dtype)


@pytest.mark.parametrize("lead", [(), (2,)], ids=["", "batch"])
@pytest.mark.parametrize("rule", ["decay", "delta"])
def test_mixing_matrices_are_the_recurrences_spelled_out(rule: str, lead: tuple[int, ...]) -> None:
    draw = Draw(9, torch.float64, 6, 4)
    log_a, beta = -draw.normal(*lead, 6, 2).exp(), draw.normal(*lead, 6, 2).sigmoid()
    k, q, v = draw.normal(*lead, 6, 2, 3), draw.normal(*lead, 6, 2, 3), draw.normal(*lead, 6, 2, 5)
    m = decayed_mixing(log_a, k, q) if rule == "decay" else delta_mixing(log_a, beta, k, q)
    y = Mix(m, 2).apply(v.flatten(-2)).unflatten(-1, (2, 5))
    state = torch.zeros(*lead, 2, 3, 5, dtype=v.dtype)
    for t in range(6):
        state = state * log_a[..., t, :, None, None].exp()
        written = v[..., t, :, :]
        if rule == "delta":
            known = torch.einsum("...hip,...hi->...hp", state, k[..., t, :, :])
            written = beta[..., t, :, None] * (written - known)
        state = state + torch.einsum("...hi,...hp->...hip", k[..., t, :, :], written)
        close(y[..., t, :, :], torch.einsum("...hip,...hi->...hp", state, q[..., t, :, :]), v.dtype)


def test_decays_keep_their_digits_when_almost_everything_has_decayed() -> None:
    """Differences of float32 sums near 16 million would be whole numbers."""
    log_a = torch.full((3, 1), -0.25)
    log_a[0] = -(2.0**24)
    close(decays(log_a)[0, 2], torch.tensor([-0.5, -0.25, 0.0]).exp(), torch.float32)


# --- experts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lead", [(), (2,)], ids=["", "batch"])
def test_routed_is_the_sum_over_the_chosen_experts_of_each_token(lead: tuple[int, ...]) -> None:
    draw = Draw(5, torch.float64, 4, 6)
    chosen = torch.tensor([[0, 2], [2, 1], [0, 1], [4, 2]]).repeat(*(lead or (1,)), 1)
    experts = {number: draw.matmul(3) for number in range(5)}
    routes = [(tokens, experts[number]) for number, tokens, _ in routes_of(chosen)]
    shape = (*lead, 4)
    op = Routed(routes, shape, 6, 3)
    x = draw.normal(*(shape if lead else (7, *shape)), 6)
    y, rows, taken = op.apply(x), x.reshape(-1, 6), chosen.repeat(1 if lead else 7, 1)
    for row, (found, numbers) in enumerate(zip(y.reshape(-1, 3), taken.tolist(), strict=True)):
        close(found, sum(experts[number].apply(rows[row][None])[0] for number in numbers), torch.float64)
    g = draw.normal(*y.shape)
    close((y * g).sum(), (x * op.adjoint(g)).sum(), torch.float64)


def test_routed_meets_each_expert_once_per_pass_and_no_other_expert() -> None:
    met: list[int] = []

    class Counting(Identity):
        def __init__(self, number: int) -> None:
            self.number = number

        def apply(self, x: Tensor, one: object = None) -> Tensor:
            met.append(self.number)
            return x

    chosen = torch.tensor([[7, 3], [3, 5], [7, 5]])
    op = Routed([(tokens, Counting(number)) for number, tokens, _ in routes_of(chosen)], (3,), 2, 2)
    close(op.apply(torch.ones(11, 3, 2)), torch.full((11, 3, 2), 2.0), torch.float32)
    assert met == [3, 5, 7]


def test_tokens_without_a_route_give_nothing() -> None:
    op = Routed([(torch.tensor([1]), Identity())], (3,), 2, 2)
    assert op.apply(torch.ones(3, 2)).tolist() == [[0, 0], [1, 1], [0, 0]]


LOGITS = torch.tensor([[2.0, -1.0, 0.5, 1.9, -3.0, 0.1, 0.2, 3.0], [0.0, 1.0, 2.0, 3.0, 2.9, 2.8, -5.0, 1.1]]).double()


def naive(row: Tensor, routing: Routing) -> dict[int, float]:
    """The weights of the chosen experts of one token, spelled out."""
    e = [float(u) for u in row]
    if routing.gating == "softmax":
        total = sum(np.exp(u) for u in e)
        scores = [np.exp(u) / total for u in e]
    elif routing.gating == "sigmoid":
        scores = [1 / (1 + np.exp(-u)) for u in e]
    elif routing.gating == "sqrt of softplus":
        scores = [np.sqrt(np.log1p(np.exp(u))) for u in e]
    else:
        scores = e
    bias = [0.0] * len(e) if routing.selection_bias is None else routing.selection_bias.tolist()
    rank = {i: scores[i] + bias[i] for i in range(len(e))}
    size = len(e) // routing.groups
    if routing.groups > 1:
        best = {g: sum(sorted(rank[i] for i in range(g * size, g * size + size))[-2:]) for g in range(routing.groups)}
        open_ = sorted(best, key=lambda g: best[g])[-routing.groups_used :]
        rank = {i: r for i, r in rank.items() if i // size in open_}
    chosen = sorted(rank, key=lambda i: rank[i])[-routing.used :]
    weights = {i: scores[i] for i in chosen}
    if routing.gating == "sigmoid of chosen":
        weights = {i: 1 / (1 + np.exp(-w)) for i, w in weights.items()}
    if routing.gating == "softmax of chosen":
        total = sum(np.exp(w) for w in weights.values())
        weights = {i: np.exp(w) / total for i, w in weights.items()}
    total = sum(weights.values()) if routing.normalised else 1.0
    return {i: w / total * routing.scale for i, w in weights.items()}


@pytest.mark.parametrize(
    "routing",
    [
        Routing(2),
        Routing(3, "softmax", normalised=False),
        Routing(2, "sigmoid", scale=2.5),
        Routing(3, "softmax of chosen", normalised=False),
        Routing(2, "sqrt of softplus", normalised=False),
        Routing(2, "sigmoid of chosen", normalised=False),
        Routing(2, "sigmoid", selection_bias=torch.tensor([0.0, 0.9, 0.0, 0.0, 0.0, 0.0, 0.7, -0.9])),
        Routing(2, "softmax", groups=4, groups_used=2),
        Routing(3, "sigmoid", selection_bias=torch.linspace(-0.5, 0.5, 8), groups=2, groups_used=1, scale=0.5),
    ],
    ids=str,
)
def test_routing_chooses_and_weighs_as_spelled_out(routing: Routing) -> None:
    chosen, weights = routing.choose(LOGITS)
    for row, numbers, values in zip(LOGITS, chosen, weights, strict=True):
        found = dict(zip(numbers.tolist(), values.tolist(), strict=True))
        assert found == pytest.approx(naive(row, routing), rel=1e-12)


def test_weights_that_vanish_are_not_divided_by_zero() -> None:
    _, weights = Routing(2, "sigmoid").choose(torch.full((1, 4), -200.0, dtype=torch.float64))
    assert torch.isfinite(weights).all()


# --- fold -----------------------------------------------------------------------------------------------------

ROOM = 1 << 30


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_folded_mlps_are_the_same_linear_map(dtype: torch.dtype) -> None:
    draw = Draw(6, dtype, 3, 8)
    op = Residual(Sequential([Scale(draw.normal(3, 8)), draw.mlp(), Scale(draw.normal(3, 1))]), Identity(), "mlp")
    folded = fold(op, 1000, ROOM)
    assert isinstance(folded, Residual)
    assert folded.name == "mlp"
    assert any(isinstance(part, PerToken) for part in folded.branch.operators)  # type: ignore[attr-defined]
    x = draw.normal(5, 3, 8)
    close(folded.apply(x), op.apply(x), dtype)
    close(folded.adjoint(x), op.adjoint(x), dtype)


def test_folding_waits_until_it_pays() -> None:
    draw = Draw(7, torch.float64, 3, 8)
    mlp = draw.mlp()
    op = Residual(mlp, Identity(), "mlp")
    assert fold(op, 4, ROOM) is op
    assert fold(op, 1000, 3 * 8 * 8) is op  # no room for the matrices of three tokens
    assert fold(op, 1000, ROOM) is not op
    assert fold(draw.routed(), 1000, ROOM).__class__ is Routed
    batched = Sequential([draw.matmul(16), Scale(draw.normal(2, 3, 16)), mlp.operators[3]])
    assert fold(batched, 1000, ROOM) is batched
