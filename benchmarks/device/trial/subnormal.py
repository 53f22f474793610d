"""Products on matrix units of float16, whose factors are the integers times the six bits of their block's scale.

Four bits in the last places of a half word are a subnormal float16, the integer times 2^-24 exactly, and stay exact
times a number of six bits. No integer is converted; d and dmin are applied to sums over a superblock (`apply`), or
to x (`adjoint`). x is split into two float16 parts, high + low, whose largest number lies below 2^15.
"""

from __future__ import annotations

import triton
import triton.language as tl

from benchmarks.device.trial.q4k import factors


@triton.jit(do_not_specialize=["m", "m_pad"])
def prepare(x, xp, xn, sx, n_in, m, m_pad, BLOCK: tl.constexpr):
    """x [m, n_in] -> xp fp16 [2, m_pad, n_in] (as the words lie), xn fp16 [m_pad, n_in / 16]: sums in two parts."""
    i = tl.program_id(0)
    there = i < m
    most = tl.zeros((BLOCK,), tl.float32)
    for at in range(0, n_in, BLOCK):
        k = at + tl.arange(0, BLOCK)
        most = tl.maximum(most, tl.abs(tl.load(x + i * n_in + k, mask=there & (k < n_in), other=0).to(tl.float32)))
    e = (tl.max(most, 0).to(tl.int32, bitcast=True) >> 23) & 255
    e = tl.minimum(tl.maximum(e, 40), 230)
    s = ((254 + 14 - e) << 23).to(tl.float32, bitcast=True)
    tl.store(sx + i, 1.0 / s)
    for at in range(tl.program_id(1) * BLOCK, n_in, BLOCK * tl.num_programs(1)):
        j = at + tl.arange(0, BLOCK)
        k = (j & -64) + ((j >> 2) & 1) * 32 + ((j >> 3) & 7) * 4 + (j & 1) * 2 + ((j >> 1) & 1)
        v = tl.load(x + i * n_in + k, mask=there & (k < n_in), other=0).to(tl.float32) * s
        high = v.to(tl.float16)
        tl.store(xp + i * n_in + j, high, mask=j < n_in)
        tl.store(xp + (m_pad + i) * n_in + j, (v - high.to(tl.float32)).to(tl.float16), mask=j < n_in)
        k = at + tl.arange(0, BLOCK)
        v = tl.load(x + i * n_in + k, mask=there & (k < n_in), other=0).to(tl.float32) * s
        sums = tl.sum(tl.reshape(v, (BLOCK // 32, 32)), 1) * 0.03125
        high = sums.to(tl.float16)
        b = at // 32 + tl.arange(0, BLOCK // 32)
        tl.store(xn + (i * (n_in // 32) + b) * 2, high, mask=b < n_in // 32)
        tl.store(xn + (i * (n_in // 32) + b) * 2 + 1, (sums - high.to(tl.float32)).to(tl.float16), mask=b < n_in // 32)


@triton.jit
def _f16(v, s, upper: tl.constexpr):
    """The upper or lower half words of v as they are, float16, times s."""
    h = (v >> 16 if upper else v & 0xFFFF).to(tl.int16)
    return h.to(tl.float16, bitcast=True) * s


@triton.jit
def _superblocks(w, h1, h2, h3):
    """w [R, 4, 8] -> q sc 2^-24 [R, 256], exact, and the minima's numbers [R, 8]; fp16. h1, h2, h3: [R]."""
    quarter, b = tl.arange(0, 4)[None, :], tl.arange(0, 8)[None, :]
    s4 = tl.where(quarter >= 2, ((h3 & 0x0F0F0F0F) | ((h1 >> 2) & 0x30303030))[:, None], (h1 & 0x3F3F3F3F)[:, None])
    s4 = s4 >> (16 * (quarter % 2))
    lower = (s4 & 63).to(tl.float16)[:, :, None]
    upper = (((s4 >> 8) & 63).to(tl.float16) * 0.0625)[:, :, None]
    n = tl.where(b >= 4, (((h3 >> 4) & 0x0F0F0F0F) | ((h2 >> 2) & 0x30303030))[:, None], (h2 & 0x3F3F3F3F)[:, None])
    n = ((n >> (8 * (b % 4))) & 63).to(tl.float16)
    l0, l1, u0, u1 = w & 0x000F000F, (w >> 8) & 0x000F000F, w & 0x00F000F0, (w >> 8) & 0x00F000F0
    first = tl.join(tl.join(_f16(l0, lower, 0), _f16(u0, upper, 0)), tl.join(_f16(l1, lower, 0), _f16(u1, upper, 0)))
    second = tl.join(tl.join(_f16(l0, lower, 1), _f16(u0, upper, 1)), tl.join(_f16(l1, lower, 1), _f16(u1, upper, 1)))
    return tl.reshape(tl.join(first, second), (w.shape[0], 256)), n


@triton.jit
def _meet(total, w, h0, h1, h2, h3, t, p_x, p_n, part_size, PARTS: tl.constexpr):
    """total [R, M] and superblock t of each row; the minima meet sums of x over their blocks, as two parts each."""
    a, n = _superblocks(w, h1, h2, h3)
    d, dmin = factors(h0)
    if PARTS == 2:
        part = tl.dot(a, tl.trans(tl.load(p_x + t * 256 + part_size)))
        part = tl.dot(a, tl.trans(tl.load(p_x + t * 256)), part)
    else:
        part = tl.dot(a, tl.trans(tl.load(p_x + t * 256)))
    n = tl.reshape(tl.join(n, n), (n.shape[0], 16))
    low = tl.dot(n, tl.trans(tl.load(p_n + t * 16)))
    return total + ((d * 16777216.0)[:, None] * part - (dmin * 32.0)[:, None] * low)


@triton.jit(do_not_specialize=["m", "m_pad", "tiles"])
def apply(
    packed, xp, xn, sx, out, row_words, n_out, n_in, m, m_pad, tiles,
    R: tl.constexpr, M: tl.constexpr, PARTS: tl.constexpr, PRE: tl.constexpr, NS: tl.constexpr,
):  # fmt: skip
    """out [splits, m, n_out]: the parts of x W^T, each over `tiles` superblocks. xp, xn, sx: of `prepare`.

    R rows of W and M of x are in hand. PRE: the loop loads the next superblock itself; else NS stages of a pipeline.
    """
    r = tl.program_id(0) * R + tl.arange(0, R)
    i = tl.program_id(2) * M + tl.arange(0, M)
    base = packed + tl.minimum(r, n_out - 1).to(tl.int64) * row_words
    begin = tl.program_id(1) * tiles
    end = tl.minimum(begin + tiles, n_in // 256)
    words = 4 + tl.arange(0, 4)[None, :, None] * 8 + tl.arange(0, 8)[None, None, :]
    p_x = xp + i[:, None] * n_in + tl.arange(0, 256)[None, :]
    p_n = xn + i[:, None] * (n_in // 16) + tl.arange(0, 16)[None, :]
    total = tl.zeros((R, M), tl.float32)
    if PRE:
        p = base + begin * 36
        h0, h1, h2, h3 = tl.load(p), tl.load(p + 1), tl.load(p + 2), tl.load(p + 3)
        w = tl.load(p[:, None, None] + words)
        for t in range(begin, end):
            p = base + tl.minimum(t + 1, end - 1) * 36
            n0, n1, n2, n3 = tl.load(p), tl.load(p + 1), tl.load(p + 2), tl.load(p + 3)
            u = tl.load(p[:, None, None] + words)
            total = _meet(total, w, h0, h1, h2, h3, t, p_x, p_n, m_pad * n_in, PARTS)
            w, h0, h1, h2, h3 = u, n0, n1, n2, n3
    else:
        for t in tl.range(begin, end, num_stages=NS):
            p = base + t * 36
            h0, h1, h2, h3 = tl.load(p), tl.load(p + 1), tl.load(p + 2), tl.load(p + 3)
            w = tl.load(p[:, None, None] + words)
            total = _meet(total, w, h0, h1, h2, h3, t, p_x, p_n, m_pad * n_in, PARTS)
    total = total * tl.load(sx + i)[None, :]
    place = out + tl.program_id(1).to(tl.int64) * m * n_out + i[:, None] * n_out + r[None, :]
    tl.store(place, tl.trans(total), mask=(i < m)[:, None] & (r < n_out)[None, :])


@triton.jit
def _into_range(y):
    """y [M, R] times powers of two [M] that bring its rows below 2^15, and their inverses."""
    e = (tl.max(tl.abs(y), 1).to(tl.int32, bitcast=True) >> 23) & 255
    e = tl.minimum(tl.maximum(e, 40), 230)
    s = ((254 + 14 - e) << 23).to(tl.float32, bitcast=True)
    back = ((e - 14) << 23).to(tl.float32, bitcast=True)
    return y * s[:, None], back


@triton.jit
def _parts(y):
    """y float32, in range, as a sum of two float16."""
    high = y.to(tl.float16)
    return high, (y - high.to(tl.float32)).to(tl.float16)


@triton.jit
def _cross(total, corr, w, h0, h1, h2, h3, y, PARTS: tl.constexpr):
    """total [256, M] and R rows of W times y [M, R], in the order of the words; corr [M, 8]: the minima's."""
    b, n = _superblocks(w, h1, h2, h3)
    d, dmin = factors(h0)
    yd, back = _into_range(y * d[None, :])
    high, low = _parts(yd)
    if PARTS == 2:
        part = tl.dot(tl.trans(b), tl.trans(low))
        part = tl.dot(tl.trans(b), tl.trans(high), part)
    else:
        part = tl.dot(tl.trans(b), tl.trans(high))
    total += part * back[None, :]
    yd, back = _into_range(y * dmin[None, :])
    high, low = _parts(yd)
    if PARTS == 2:
        part = tl.dot(low, n)
        part = tl.dot(high, n, part)
    else:
        part = tl.dot(high, n)
    corr += part * back[:, None]
    return total, corr


@triton.jit(do_not_specialize=["m", "tiles"])
def adjoint(
    packed, g, out, row_words, n_out, n_in, m, tiles,
    R: tl.constexpr, M: tl.constexpr, PARTS: tl.constexpr, PRE: tl.constexpr, NS: tl.constexpr,
):  # fmt: skip
    """out [splits, m, n_in]: the parts of g W for g [m, n_out], each over `tiles` tiles of R rows of W.

    A program has the 256 columns of a superblock and M rows of g in hand. PRE, NS: as in `apply`.
    """
    i = tl.program_id(2) * M + tl.arange(0, M)
    block = tl.program_id(0)
    begin = tl.program_id(1) * tiles
    end = tl.minimum(begin + tiles, tl.cdiv(n_out, R))
    words = 4 + tl.arange(0, 4)[None, :, None] * 8 + tl.arange(0, 8)[None, None, :]
    base = packed + block * 36
    total = tl.zeros((256, M), tl.float32)
    corr = tl.zeros((M, 8), tl.float32)
    if PRE:
        r = begin * R + tl.arange(0, R)
        p = base + tl.minimum(r, n_out - 1).to(tl.int64) * row_words
        h0, h1, h2, h3 = tl.load(p), tl.load(p + 1), tl.load(p + 2), tl.load(p + 3)
        w = tl.load(p[:, None, None] + words)
        y = tl.load(g + i[:, None] * n_out + r[None, :], mask=(i < m)[:, None] & (r < n_out)[None, :], other=0)
        for t in range(begin, end):
            r = (t + 1) * R + tl.arange(0, R)
            p = base + tl.minimum(r, n_out - 1).to(tl.int64) * row_words
            n0, n1, n2, n3 = tl.load(p), tl.load(p + 1), tl.load(p + 2), tl.load(p + 3)
            u = tl.load(p[:, None, None] + words)
            z = tl.load(g + i[:, None] * n_out + r[None, :], mask=(i < m)[:, None] & (r < n_out)[None, :], other=0)
            total, corr = _cross(total, corr, w, h0, h1, h2, h3, y.to(tl.float32), PARTS)
            w, h0, h1, h2, h3, y = u, n0, n1, n2, n3, z
    else:
        for t in tl.range(begin, end, num_stages=NS):
            r = t * R + tl.arange(0, R)
            p = base + tl.minimum(r, n_out - 1).to(tl.int64) * row_words
            h0, h1, h2, h3 = tl.load(p), tl.load(p + 1), tl.load(p + 2), tl.load(p + 3)
            w = tl.load(p[:, None, None] + words)
            y = tl.load(g + i[:, None] * n_out + r[None, :], mask=(i < m)[:, None] & (r < n_out)[None, :], other=0)
            total, corr = _cross(total, corr, w, h0, h1, h2, h3, y.to(tl.float32), PARTS)
    total = tl.trans(total)
    minus = tl.broadcast_to(tl.reshape(corr, (M, 4, 1, 2, 1)), (M, 4, 8, 2, 4))
    total = total * 16777216.0 - tl.reshape(minus, (M, 256))
    j = tl.arange(0, 256)
    k = (j & -64) + ((j >> 2) & 1) * 32 + ((j >> 3) & 7) * 4 + (j & 1) * 2 + ((j >> 1) & 1)
    place = out + tl.program_id(1).to(tl.int64) * m * n_in + i[:, None] * n_in + (block * 256 + k)[None, :]
    tl.store(place, total, mask=(i < m)[:, None] & (k < n_in)[None, :])
