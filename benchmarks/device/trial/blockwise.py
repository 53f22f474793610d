"""Products on matrix units of float16 that meet the integers alone: a block's scale is applied to what it summed to.

Four bits in the last places of a half word are a subnormal float16, the integer times 2^-24 exactly; those one place
further left are 16 times that. x is split into float16 parts once, whose largest number lies below 2^15.
"""

from __future__ import annotations

import triton
import triton.language as tl

from benchmarks.device.trial.q4k import factors


@triton.jit(do_not_specialize=["m", "m_pad"])
def prepare(x, xp, xs, sx, n_in, m, m_pad, PARTS: tl.constexpr, BLOCK: tl.constexpr):
    """x [m, n_in] -> xp fp16 [PARTS, m_pad, n_in] (in the order of the words), xs [m_pad, n_in / 32], sx [m_pad]."""
    i = tl.program_id(0)
    there = i < m
    most = tl.zeros((BLOCK,), tl.float32)
    for at in range(0, n_in, BLOCK):
        k = at + tl.arange(0, BLOCK)
        most = tl.maximum(most, tl.abs(tl.load(x + i * n_in + k, mask=there & (k < n_in), other=0).to(tl.float32)))
    top = tl.max(most, 0)
    e = (top.to(tl.int32, bitcast=True) >> 23) & 255
    e = tl.minimum(tl.maximum(e, 40), 230)
    s = ((254 + 14 - e) << 23).to(tl.float32, bitcast=True)
    tl.store(sx + i, 1.0 / s * 16777216.0)
    for at in range(tl.program_id(1) * BLOCK, n_in, BLOCK * tl.num_programs(1)):
        j = at + tl.arange(0, BLOCK)
        k = (j & -4) | ((j & 1) << 1) | ((j >> 1) & 1)
        v = tl.load(x + i * n_in + k, mask=there & (k < n_in), other=0).to(tl.float32) * s
        high = v.to(tl.float16)
        tl.store(xp + i * n_in + j, high, mask=j < n_in)
        if PARTS == 2:
            low = (v - high.to(tl.float32)).to(tl.float16)
            tl.store(xp + (m_pad + i) * n_in + j, low, mask=j < n_in)
        sums = tl.sum(tl.reshape(v, (BLOCK // 32, 32)), 1) * 5.9604644775390625e-08
        b = at // 32 + tl.arange(0, BLOCK // 32)
        tl.store(xs + i * (n_in // 32) + b, sums, mask=b < n_in // 32)


@triton.jit
def _scales(h1, h2, h3, q: tl.constexpr):
    """As `scales`, where the quarter is known to the compiler: its own stand in bytes 2 (q % 2) + plane."""
    if q < 2:
        return h1 & 0x3F3F3F3F, h2 & 0x3F3F3F3F
    return (h3 & 0x0F0F0F0F) | ((h1 >> 2) & 0x30303030), ((h3 >> 4) & 0x0F0F0F0F) | ((h2 >> 2) & 0x30303030)


@triton.jit
def _halfwords(v0, v1):
    """[R, 8] twice -> fp16 [R, 32], subnormal: the integers in the low bits of each half word."""
    a = tl.join((v0 & 0xFFFF).to(tl.int16), (v1 & 0xFFFF).to(tl.int16))
    b = tl.join((v0 >> 16).to(tl.int16), (v1 >> 16).to(tl.int16))
    return tl.reshape(tl.join(a, b).to(tl.float16, bitcast=True), (v0.shape[0], 32))


@triton.jit
def _plane(total, w, p_x, p_s, s4, n4, d, dmin, part_size, q: tl.constexpr, plane: tl.constexpr, PARTS: tl.constexpr):
    """total [R, M] and the block of 32 weights that are the lower or upper halves of a quarter's bytes."""
    a = _halfwords(w & (0x000F000F << (4 * plane)), (w >> 8) & (0x000F000F << (4 * plane)))
    x_at = p_x + (q * 64 + plane * 32)
    if PARTS == 2:
        part = tl.dot(a, tl.trans(tl.load(x_at + part_size)))
        part = tl.dot(a, tl.trans(tl.load(x_at)), part)
    else:
        part = tl.dot(a, tl.trans(tl.load(x_at)))
    s = d * ((s4 >> (16 * (q % 2) + 8 * plane)) & 63).to(tl.float32)
    n = dmin * ((n4 >> (16 * (q % 2) + 8 * plane)) & 63).to(tl.float32)
    if plane == 1:
        s *= 0.0625
    total += s[:, None] * part
    total -= n[:, None] * tl.load(p_s + (2 * q + plane))[None, :]
    return total


@triton.jit
def _quarter(total, w, p_x, p_s, h1, h2, h3, d, dmin, part_size, q: tl.constexpr, PARTS: tl.constexpr):
    """total [R, M] and the 64 weights of quarter q."""
    s4, n4 = _scales(h1, h2, h3, q)
    total = _plane(total, w, p_x, p_s, s4, n4, d, dmin, part_size, q, 0, PARTS)
    return _plane(total, w, p_x, p_s, s4, n4, d, dmin, part_size, q, 1, PARTS)


@triton.jit(do_not_specialize=["m", "m_pad", "tiles"])
def apply(
    packed, xp, xs, sx, out, row_words, n_out, n_in, m, m_pad, tiles,
    R: tl.constexpr, M: tl.constexpr, PARTS: tl.constexpr, NS: tl.constexpr,
):  # fmt: skip
    """out [splits, m, n_out]: the parts of x W^T, each over `tiles` superblocks. xp, xs, sx: of `prepare`.

    R rows of W and M of x are in hand; NS: stages of the loop's pipeline.
    """
    r = tl.program_id(0) * R + tl.arange(0, R)
    i = tl.program_id(2) * M + tl.arange(0, M)
    base = packed + tl.minimum(r, n_out - 1).to(tl.int64) * row_words
    begin = tl.program_id(1) * tiles
    end = tl.minimum(begin + tiles, n_in // 256)
    words = 4 + tl.arange(0, 8)[None, :]
    p_x = xp + i[:, None] * n_in + tl.arange(0, 32)[None, :]
    p_s = xs + i * (n_in // 32)
    part_size = m_pad * n_in
    total = tl.zeros((R, M), tl.float32)
    for t in tl.range(begin, end, num_stages=NS):
        p = base + t * 36
        h0, h1, h2, h3 = tl.load(p), tl.load(p + 1), tl.load(p + 2), tl.load(p + 3)
        w0 = tl.load(p[:, None] + words)
        w1 = tl.load(p[:, None] + words + 8)
        w2 = tl.load(p[:, None] + words + 16)
        w3 = tl.load(p[:, None] + words + 24)
        d, dmin = factors(h0)
        total = _quarter(total, w0, p_x + t * 256, p_s + t * 8, h1, h2, h3, d, dmin, part_size, 0, PARTS)
        total = _quarter(total, w1, p_x + t * 256, p_s + t * 8, h1, h2, h3, d, dmin, part_size, 1, PARTS)
        total = _quarter(total, w2, p_x + t * 256, p_s + t * 8, h1, h2, h3, d, dmin, part_size, 2, PARTS)
        total = _quarter(total, w3, p_x + t * 256, p_s + t * 8, h1, h2, h3, d, dmin, part_size, 3, PARTS)
    total = total * tl.load(sx + i)[None, :]
    place = out + tl.program_id(1).to(tl.int64) * m * n_out + i[:, None] * n_out + r[None, :]
    tl.store(place, tl.trans(total), mask=(i < m)[:, None] & (r < n_out)[None, :])
