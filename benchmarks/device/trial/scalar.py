"""Products of a few rows without matrix units: integers become float32 without a conversion, in the fraction of 2^23.

Programs keep eight words of G quarters of R rows in hand, so that more bytes are on their way than with one.
"""

from __future__ import annotations

import triton
import triton.language as tl

from benchmarks.device.trial.q4k import factors, scales


@triton.jit
def _number(w, at: tl.constexpr):
    """The four bits from `at` on as float32: exact, since they stand in the last bits of 2^23's fraction."""
    if at >= 16:
        v = ((w >> 16) & (15 << (at - 16))) | 0x4B000000
    else:
        v = (w & (15 << at)) | 0x4B000000
    back: tl.constexpr = 1.0 / (1 << (at % 16))
    return v.to(tl.float32, bitcast=True) * back - 8388608.0 * back


@triton.jit(do_not_specialize=["m", "tiles"])
def adjoint(
    packed, g, out, row_words, n_out, n_in, m, tiles,
    R: tl.constexpr, G: tl.constexpr, M: tl.constexpr, U: tl.constexpr,
):  # fmt: skip
    """out [splits, m, n_in]: the parts of g W for g [m, n_out], each over `tiles` tiles of U times R rows of W.

    A program has G quarters and M rows of g in hand; eight sums for each word are added up at the end.
    """
    group = tl.program_id(0) * G + tl.arange(0, G)
    i = tl.program_id(2) * M + tl.arange(0, M)
    begin = tl.program_id(1) * tiles
    end = tl.minimum(begin + tiles, tl.cdiv(n_out, R * U))
    there = group < n_in // 64
    group = tl.minimum(group, n_in // 64 - 1)
    late, pick = (group % 4 >= 2)[None, :], (16 * (group % 2))[None, :]
    place = (group // 4 * 36)[None, :]
    words = (group // 4 * 36 + 4 + group % 4 * 8)[None, :, None] + tl.arange(0, 8)[None, None, :]
    l0 = tl.zeros((M, R, G, 8), tl.float32)
    l1 = l0
    l2 = l0
    l3 = l0
    u0 = l0
    u1 = l0
    u2 = l0
    u3 = l0
    cl = tl.zeros((M, R, G), tl.float32)
    cu = cl
    for t in range(begin, end):
        for u in tl.static_range(U):
            r = (t * U + u) * R + tl.arange(0, R)
            row = packed + tl.minimum(r, n_out - 1).to(tl.int64) * row_words
            w = tl.load(row[:, None, None] + words)
            p = row[:, None] + place
            h0, h1, h2, h3 = tl.load(p), tl.load(p + 1), tl.load(p + 2), tl.load(p + 3)
            y = tl.load(g + i[:, None] * n_out + r[None, :], mask=(i < m)[:, None] & (r < n_out)[None, :], other=0)
            y = y.to(tl.float32)[:, :, None]
            d, dmin = factors(h0)
            s4, n4 = scales(h1, h2, h3, late)
            s4, n4 = s4 >> pick, n4 >> pick
            sl, su = d * (s4 & 63).to(tl.float32), d * ((s4 >> 8) & 63).to(tl.float32)
            cl += y * (dmin * (n4 & 63).to(tl.float32))[None, :, :]
            cu += y * (dmin * ((n4 >> 8) & 63).to(tl.float32))[None, :, :]
            yl, yu = (y * sl[None, :, :])[:, :, :, None], (y * su[None, :, :])[:, :, :, None]
            l0 += yl * _number(w, 0)[None, :, :, :]
            l1 += yl * _number(w, 8)[None, :, :, :]
            l2 += yl * _number(w, 16)[None, :, :, :]
            l3 += yl * _number(w, 24)[None, :, :, :]
            u0 += yu * _number(w, 4)[None, :, :, :]
            u1 += yu * _number(w, 12)[None, :, :, :]
            u2 += yu * _number(w, 20)[None, :, :, :]
            u3 += yu * _number(w, 28)[None, :, :, :]
    low = tl.join(tl.join(tl.sum(l0, 1), tl.sum(l2, 1)), tl.join(tl.sum(l1, 1), tl.sum(l3, 1)))
    high = tl.join(tl.join(tl.sum(u0, 1), tl.sum(u2, 1)), tl.join(tl.sum(u1, 1), tl.sum(u3, 1)))
    low = tl.reshape(low, (M, G, 32)) - tl.sum(cl, 1)[:, :, None]
    high = tl.reshape(high, (M, G, 32)) - tl.sum(cu, 1)[:, :, None]
    k = (group * 64)[None, :, None] + tl.arange(0, 32)[None, None, :]
    at = out + tl.program_id(1).to(tl.int64) * m * n_in + i[:, None, None] * n_in + k
    ok = (i < m)[:, None, None] & there[None, :, None]
    tl.store(at, low, mask=ok)
    tl.store(at + 32, high, mask=ok)


@triton.jit(do_not_specialize=["m", "tiles"])
def apply(
    packed, x, out, row_words, n_out, n_in, m, tiles,
    R: tl.constexpr, G: tl.constexpr, M: tl.constexpr, U: tl.constexpr,
):  # fmt: skip
    """out [splits, m, n_out]: the parts of x W^T for x [m, n_in], each over `tiles` tiles of U times G quarters.

    A program has R rows of W and M of x in hand.
    """
    r = tl.program_id(0) * R + tl.arange(0, R)
    i = tl.program_id(2) * M + tl.arange(0, M)
    row = packed + tl.minimum(r, n_out - 1).to(tl.int64) * row_words
    begin = tl.program_id(1) * tiles
    end = tl.minimum(begin + tiles, tl.cdiv(n_in // 64, G * U))
    total = tl.zeros((M, R, G, 8), tl.float32)
    for t in range(begin, end):
        for u in tl.static_range(U):
            group = (t * U + u) * G + tl.arange(0, G)
            here = (i < m)[:, None, None] & (group < n_in // 64)[None, :, None]
            p_x = x + i[:, None, None] * n_in + group[None, :, None] * 64 + 4 * tl.arange(0, 8)[None, None, :]
            group = tl.minimum(group, n_in // 64 - 1)
            late, pick = (group % 4 >= 2)[None, :], (16 * (group % 2))[None, :]
            words = (group // 4 * 36 + 4 + group % 4 * 8)[None, :, None] + tl.arange(0, 8)[None, None, :]
            w = tl.load(row[:, None, None] + words)
            p = row[:, None] + (group // 4 * 36)[None, :]
            h0, h1, h2, h3 = tl.load(p), tl.load(p + 1), tl.load(p + 2), tl.load(p + 3)
            d, dmin = factors(h0)
            s4, n4 = scales(h1, h2, h3, late)
            s4, n4 = s4 >> pick, n4 >> pick
            for plane in tl.static_range(2):
                part = tl.zeros((M, R, G, 8), tl.float32)
                sums = tl.zeros((M, G, 8), tl.float32)
                for c in tl.static_range(4):
                    v = tl.load(p_x + (32 * plane + c), mask=here, other=0).to(tl.float32)
                    sums += v
                    part += v[:, None, :, :] * _number(w, 8 * c + 4 * plane)[None, :, :, :]
                s = d * ((s4 >> (8 * plane)) & 63).to(tl.float32)
                n = dmin * ((n4 >> (8 * plane)) & 63).to(tl.float32)
                total += s[None, :, :, None] * part - n[None, :, :, None] * sums[:, None, :, :]
    place = out + tl.program_id(1).to(tl.int64) * m * n_out + i[:, None] * n_out + r[None, :]
    total = tl.sum(tl.reshape(total, (M, R, G * 8)), 2)
    tl.store(place, total, mask=(i < m)[:, None] & (r < n_out)[None, :])
