"""The kernels: expand packed blocks, and multiply with them on the way.

All of them work on tiles of R rows and G groups of weights (see `decode`); `DECODE` is the format's function, PLANES
and WIDE how many planes a group has and how many weights a plane. Rows of packed bytes are `row_bytes` long, `n_in` is
the number of weights in a row.

Where float32 is multiplied on matrix units, which read eleven bits of it, each factor is the sum of two such numbers to
2^-24. The products of parts are exact and added up in float32; that of the two small ones, 2^-24 of the others, is
left out. What is added up on such units is a tile long, since they cut digits off.

Products are compiled anew for a size that is 1 or that 16 divides, but not for every number of rows and tiles.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _pair(row, g, b, here, DECODE: tl.constexpr, first: tl.constexpr, second: tl.constexpr):
    """Two planes [R, G, B, 2]."""
    return tl.join(DECODE(row, g, b, here, first), DECODE(row, g, b, here, second))


@triton.jit
def _tile(
    packed, r, g, row_bytes, n_out, n_groups, DECODE: tl.constexpr, PLANES: tl.constexpr, WIDE: tl.constexpr
):  # fmt: skip
    """The weights of rows r [R] and groups g [G], float32 [R, G PLANES WIDE] in their order."""
    row = packed + r.to(tl.int64)[:, None] * row_bytes
    here = (r < n_out)[:, None] & (g < n_groups)[None, :]
    group, b = g[None, :], tl.arange(0, WIDE)[None, None, :]
    if PLANES == 1:
        w = DECODE(row, group, b, here, 0)
    elif PLANES == 2:
        w = _pair(row, group, b, here, DECODE, 0, 1)
        w = tl.permute(w, (0, 1, 3, 2))
    else:
        even = tl.join(_pair(row, group, b, here, DECODE, 0, 4), _pair(row, group, b, here, DECODE, 2, 6))
        odd = tl.join(_pair(row, group, b, here, DECODE, 1, 5), _pair(row, group, b, here, DECODE, 3, 7))
        w = tl.permute(tl.join(even, odd), (0, 1, 3, 4, 5, 2))
    return tl.reshape(w, (r.shape[0], g.shape[0] * PLANES * WIDE))


@triton.jit
def _rounded(x):
    """float32 x rounded to the eleven bits that matrix units read of it."""
    return ((x.to(tl.int32, bitcast=True) + 0x1000) & -0x2000).to(tl.float32, bitcast=True)


@triton.jit
def _dot(a, b, TYPE: tl.constexpr):
    """a b on the matrix units; float32 as three products of two parts each, the small ones first."""
    if TYPE == tl.float32:  # noqa: SIM300
        high_a, high_b = _rounded(a), _rounded(b)
        product = tl.dot(a - high_a, high_b, input_precision="tf32")
        product = tl.dot(high_a, b - high_b, product, input_precision="tf32")
        product = tl.dot(high_a, high_b, product, input_precision="tf32")
    else:
        product = tl.dot(a, b)
    return product


@triton.jit
def _own(
    packed, row_bytes, n_out, n_in,
    DECODE: tl.constexpr, PLANES: tl.constexpr, WIDE: tl.constexpr, R: tl.constexpr, G: tl.constexpr,
):  # fmt: skip
    """The tile of weights that is this program's, where it lies in [n_out, n_in], and what of it is there."""
    K: tl.constexpr = G * PLANES * WIDE
    r = tl.program_id(0) * R + tl.arange(0, R)
    g = tl.program_id(1) * G + tl.arange(0, G)
    w = _tile(packed, r, g, row_bytes, n_out, n_in // (PLANES * WIDE), DECODE, PLANES, WIDE)
    k = tl.program_id(1) * K + tl.arange(0, K)
    return w, r.to(tl.int64)[:, None] * n_in + k[None, :], (r < n_out)[:, None] & (k < n_in)[None, :]


@triton.jit
def expand(
    packed, out, row_bytes, n_out, n_in,
    DECODE: tl.constexpr, PLANES: tl.constexpr, WIDE: tl.constexpr, R: tl.constexpr, G: tl.constexpr,
):  # fmt: skip
    """out [n_out, n_in] = the weights, in the type of `out`."""
    w, place, here = _own(packed, row_bytes, n_out, n_in, DECODE, PLANES, WIDE, R, G)
    tl.store(out + place, w.to(out.dtype.element_ty), mask=here)


@triton.jit
def largest(
    packed, out, row_bytes, n_out, n_in,
    DECODE: tl.constexpr, PLANES: tl.constexpr, WIDE: tl.constexpr, R: tl.constexpr, G: tl.constexpr,
):  # fmt: skip
    """out [programs] = the largest magnitude in each tile of weights."""
    w, _, here = _own(packed, row_bytes, n_out, n_in, DECODE, PLANES, WIDE, R, G)
    most = tl.max(tl.max(tl.where(here, tl.abs(w), 0.0), 1), 0)
    tl.store(out + tl.program_id(0) * tl.num_programs(1) + tl.program_id(1), most)


@triton.jit
def halves(
    packed, scale, high, low, row_bytes, n_out, n_in,
    DECODE: tl.constexpr, PLANES: tl.constexpr, WIDE: tl.constexpr, R: tl.constexpr, G: tl.constexpr,
):  # fmt: skip
    """scale * weight = high + low, two float16 [n_out, n_in] whose sum is right to 2^-24; scale: a power of two."""
    w, place, here = _own(packed, row_bytes, n_out, n_in, DECODE, PLANES, WIDE, R, G)
    w = tl.load(scale) * w
    first = w.to(tl.float16)
    tl.store(high + place, first, mask=here)
    tl.store(low + place, (w - first.to(tl.float32)).to(tl.float16), mask=here)


@triton.jit(do_not_specialize=["m", "tiles"])
def apply(
    packed, x, out, row_bytes, n_out, n_in, m, tiles,
    DECODE: tl.constexpr, PLANES: tl.constexpr, WIDE: tl.constexpr, R: tl.constexpr, G: tl.constexpr,
    M: tl.constexpr, TYPE: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """out [splits, m, n_out]: the parts of x W^T for x [m, n_in], each over `tiles` tiles of columns.

    M: rows of x that a program has in hand; TYPE: of the factors (float32 or bfloat16). DOT: on the matrix units, whose
    tiles have sixteen rows.
    """
    K: tl.constexpr = G * PLANES * WIDE
    r, i = tl.program_id(0) * R + tl.arange(0, R), tl.program_id(2) * M + tl.arange(0, M)
    n_groups, begin = n_in // (PLANES * WIDE), tl.program_id(1) * tiles
    if DOT:
        total = tl.zeros((R, M), tl.float32)
    else:
        total = tl.zeros((M, R, K), tl.float32)
    for t in range(begin, tl.minimum(begin + tiles, tl.cdiv(n_in, K))):
        w = _tile(packed, r, t * G + tl.arange(0, G), row_bytes, n_out, n_groups, DECODE, PLANES, WIDE).to(TYPE)
        k = t * K + tl.arange(0, K)
        here = (i < m)[:, None] & (k < n_in)[None, :]
        block = tl.load(x + i[:, None] * n_in + k[None, :], mask=here, other=0)
        if DOT:
            total += _dot(w, tl.trans(block), TYPE)
        else:
            total += block.to(tl.float32)[:, None, :] * w.to(tl.float32)[None, :, :]
    place = out + tl.program_id(1).to(tl.int64) * m * n_out + i[:, None] * n_out + r[None, :]
    here = (i < m)[:, None] & (r < n_out)[None, :]
    if DOT:
        tl.store(place, tl.trans(total), mask=here)
    else:
        tl.store(place, tl.sum(total, 2), mask=here)


@triton.jit(do_not_specialize=["m", "tiles"])
def adjoint(
    packed, g, out, row_bytes, n_out, n_in, m, tiles,
    DECODE: tl.constexpr, PLANES: tl.constexpr, WIDE: tl.constexpr, R: tl.constexpr, G: tl.constexpr,
    M: tl.constexpr, TYPE: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """out [splits, m, n_in]: the parts of g W for g [m, n_out], each over `tiles` tiles of rows; as in `apply`."""
    K: tl.constexpr = G * PLANES * WIDE
    groups, i = tl.program_id(0) * G + tl.arange(0, G), tl.program_id(2) * M + tl.arange(0, M)
    n_groups, begin = n_in // (PLANES * WIDE), tl.program_id(1) * tiles
    if DOT:
        total = tl.zeros((M, K), tl.float32)
    else:
        total = tl.zeros((M, R, K), tl.float32)
    for t in range(begin, tl.minimum(begin + tiles, tl.cdiv(n_out, R))):
        r = t * R + tl.arange(0, R)
        w = _tile(packed, r, groups, row_bytes, n_out, n_groups, DECODE, PLANES, WIDE).to(TYPE)
        block = tl.load(g + i[:, None] * n_out + r[None, :], mask=(i < m)[:, None] & (r < n_out)[None, :], other=0)
        if DOT:
            total += _dot(block, w, TYPE)
        else:
            total += block.to(tl.float32)[:, :, None] * w.to(tl.float32)[None, :, :]
    k = tl.program_id(0) * K + tl.arange(0, K)
    place = out + tl.program_id(1).to(tl.int64) * m * n_in + i[:, None] * n_in + k[None, :]
    here = (i < m)[:, None] & (k < n_in)[None, :]
    if DOT:
        tl.store(place, total, mask=here)
    else:
        tl.store(place, tl.sum(total, 1), mask=here)
