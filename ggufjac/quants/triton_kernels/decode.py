"""One decode function per block format, the twins of those in native/formats.hpp; expansion and products share them.

The weights of a row are seen as groups of P planes of B weights each: weight (g P + plane) B + b is plane `plane` of
group g. The weights of a plane come from bytes that lie side by side, so a plane is read with wide loads; where planes
share bytes (the low and the high nibbles), the compiler loads these once.

    decode(row, g, b, here, plane) -> float32 [R, G, B]

row [R, 1]: where the packed rows begin; g [1, G]: groups, counted from the start of the row; b [1, 1, B]; here [R, G]:
what there is, the rest is not read and decodes to anything finite. What a group has once (its scale) is computed as
[R, G], so that no thread does it for every weight. The arithmetic is that of `gguf.quants` operation for operation, so
the bits are the same as long as a * b + c is not contracted.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _byte(p, here):
    """The byte at p [R, G], or those at p [R, G, B]."""
    return tl.load(p, mask=here, other=0)


@triton.jit
def _signed(p, here):
    return _byte(p, here).to(tl.int8, bitcast=True).to(tl.float32)


@triton.jit
def _bytes(p, b, here, aligned: tl.constexpr):
    """The B bytes from p [R, G] on, int32 [R, G, B], loaded as words of `aligned` bytes, which p is a multiple of.

    A byte comes out of a word by a shift, which the compiler joins with the next one.
    """
    if aligned == 1:
        w = _byte(p[:, :, None] + b, here[:, :, None]).to(tl.int32)
    else:
        words = tl.arange(0, b.shape[2] // aligned)[None, None, :]
        if aligned == 2:
            w = tl.load(p.to(tl.pointer_type(tl.uint16))[:, :, None] + words, mask=here[:, :, None], other=0)
            w = w.to(tl.int32)
            w = tl.join(w & 255, w >> 8)
        else:
            w = tl.load(p.to(tl.pointer_type(tl.int32))[:, :, None] + words, mask=here[:, :, None], other=0)
            w = tl.join(tl.join(w & 255, (w >> 16) & 255), tl.join((w >> 8) & 255, (w >> 24) & 255))
        w = tl.reshape(w, (p.shape[0], p.shape[1], b.shape[2]))
    return w


@triton.jit
def _nibbles(p, b, here, high: tl.constexpr, aligned: tl.constexpr):
    """The low or the high halves of those bytes."""
    return (_bytes(p, b, here, aligned) >> (4 * high)) & 15


@triton.jit
def _each(x):
    """What a group has once, for its weights: [R, G] -> [R, G, 1]."""
    return x[:, :, None]


@triton.jit
def _half(p, here):
    """The float16 at p, widened."""
    return tl.load(p.to(tl.pointer_type(tl.float16)), mask=here, other=0).to(tl.float32)


@triton.jit
def _bits(word):
    """int32 as the float32 of the same bits."""
    return word.to(tl.float32, bitcast=True)


@triton.jit
def _fp4(q):
    """E2M1, doubled: 0, 1, 2, 3, 4, 6, 8, 12 and their negatives."""
    # The three bits below the sign are the end of a float32's exponent and the beginning of its fraction, its smallest
    # numbers included; adding 0 makes -0 the 0 that it stands for.
    return _bits(((q & 7) << 22) | ((q & 8) << 28)) * 1.7014118346046923e38 + 0.0


@triton.jit
def _iq4(q):
    """The sixteen values of IQ4_NL and IQ4_XS, from a byte each of two words of eight."""
    # -127, -104, -83, -65, -49, -35, -22, -10 and 1, 13, 25, 38, 53, 69, 89, 113
    words = tl.where(q < 8, -0x0915_2230_4052_677F, 0x7159_4535_2619_0D01)
    return (words >> (8 * (q & 7)).to(tl.int64)).to(tl.int8).to(tl.float32)


# ---- no blocks: groups of 32 numbers


@triton.jit
def f32(row, g, b, here, plane: tl.constexpr):
    p = (row + g * 128).to(tl.pointer_type(tl.float32))
    return tl.load(p[:, :, None] + b, mask=here[:, :, None], other=0)


@triton.jit
def f16(row, g, b, here, plane: tl.constexpr):
    p = (row + g * 64).to(tl.pointer_type(tl.float16))
    return tl.load(p[:, :, None] + b, mask=here[:, :, None], other=0).to(tl.float32)


@triton.jit
def bf16(row, g, b, here, plane: tl.constexpr):
    p = (row + g * 64).to(tl.pointer_type(tl.uint16))
    return _bits(tl.load(p[:, :, None] + b, mask=here[:, :, None], other=0).to(tl.int32) << 16)


# ---- legacy blocks of 32: a group is a block


@triton.jit
def q4_0(row, g, b, here, plane: tl.constexpr):
    block = row + g * 18
    q = _nibbles(block + 2, b, here, plane, 2)
    return _each(_half(block, here)) * (q.to(tl.float32) - 8)


@triton.jit
def q4_1(row, g, b, here, plane: tl.constexpr):
    block = row + g * 20
    q = _nibbles(block + 4, b, here, plane, 4)
    return _each(_half(block, here)) * q.to(tl.float32) + _each(_half(block + 2, here))


@triton.jit
def _fifth_bits(p, b, here, plane: tl.constexpr):
    """Bits 16 plane + b of the four bytes at p, as bit 4."""
    low, high = _byte(p + 2 * plane, here).to(tl.int32), _byte(p + 2 * plane + 1, here).to(tl.int32)
    return ((_each(low | (high << 8)) >> b) & 1) << 4


@triton.jit
def q5_0(row, g, b, here, plane: tl.constexpr):
    block = row + g * 22
    q = _nibbles(block + 6, b, here, plane, 2) | _fifth_bits(block + 2, b, here, plane)
    return _each(_half(block, here)) * (q.to(tl.float32) - 16)


@triton.jit
def q5_1(row, g, b, here, plane: tl.constexpr):
    block = row + g * 24
    q = _nibbles(block + 8, b, here, plane, 4) | _fifth_bits(block + 4, b, here, plane)
    return _each(_half(block, here)) * q.to(tl.float32) + _each(_half(block + 2, here))


@triton.jit
def q8_0(row, g, b, here, plane: tl.constexpr):
    block = row + g * 34
    return _bytes(block + 2, b, here, 2).to(tl.int8).to(tl.float32) * _each(_half(block, here))


# ---- K-quants: superblocks of 256. Those with sixteen scales are two groups of eight planes, the others four of two


@triton.jit
def q2_k(row, g, b, here, plane: tl.constexpr):
    half, block = g % 2, row + (g // 2) * 84
    both = _byte(block + 8 * half + plane, here)
    scale = _half(block + 80, here) * (both & 15).to(tl.float32)
    minimum = _half(block + 82, here) * (both >> 4).to(tl.float32)
    q = (_bytes(block + 16 + 32 * half + 16 * (plane % 2), b, here, 4) >> (2 * (plane // 2))) & 3
    return _each(scale) * q.to(tl.float32) - _each(minimum)


@triton.jit
def q3_k(row, g, b, here, plane: tl.constexpr):
    half, block = g % 2, row + (g // 2) * 110
    # Sixteen 6-bit scales: of number 8 half + plane a nibble of byte `plane`, and two bits of byte 8 + plane % 4.
    low = (_byte(block + 96 + plane, here) >> (4 * half).to(tl.uint8)) & 15
    high = (_byte(block + 104 + plane % 4, here) >> (4 * half + 2 * (plane // 4)).to(tl.uint8)) & 3
    scale = _half(block + 108, here) * ((low | (high << 4)).to(tl.float32) - 32)
    q = (_bytes(block + 32 + 32 * half + 16 * (plane % 2), b, here, 2) >> (2 * (plane // 2))) & 3
    third = _bytes(block + 16 * (plane % 2), b, here, 2) >> _each(4 * half + plane // 2)
    return _each(scale) * ((q | ((third & 1) << 2)).to(tl.float32) - 4)


@triton.jit
def _scale_and_minimum(block, g, here, plane: tl.constexpr):
    """Scale and minimum number 2 g + plane of the eight of Q4_K and Q5_K, times the superblock's factors."""
    # The first four lie in the low six bits of bytes 0-3 and 4-7, whose high two bits are those of the other four;
    # these have their low four bits in bytes 8-11.
    p = block + 4 + (2 * g + plane) % 4
    scale, minimum, rest = _byte(p, here), _byte(p + 4, here), _byte(p + 8, here)
    scale = tl.where(g < 2, scale & 63, (rest & 15) | ((scale >> 2) & 48))
    minimum = tl.where(g < 2, minimum & 63, (rest >> 4) | ((minimum >> 2) & 48))
    return _each(_half(block, here) * scale.to(tl.float32)), _each(_half(block + 2, here) * minimum.to(tl.float32))


@triton.jit
def q4_k(row, g, b, here, plane: tl.constexpr):
    quarter, block = g % 4, row + (g // 4) * 144
    scale, minimum = _scale_and_minimum(block, quarter, here, plane)
    q = _nibbles(block + 16 + 32 * quarter, b, here, plane, 4)
    return scale * q.to(tl.float32) - minimum


@triton.jit
def q5_k(row, g, b, here, plane: tl.constexpr):
    quarter, block = g % 4, row + (g // 4) * 176
    scale, minimum = _scale_and_minimum(block, quarter, here, plane)
    fifth = _bytes(block + 16, b, here, 4) >> _each(2 * quarter + plane)
    q = _nibbles(block + 48 + 32 * quarter, b, here, plane, 4) | ((fifth & 1) << 4)
    return scale * q.to(tl.float32) - minimum


@triton.jit
def q6_k(row, g, b, here, plane: tl.constexpr):
    half, block = g % 2, row + (g // 2) * 210
    scale = _half(block + 208, here) * _signed(block + 192 + 8 * half + plane, here)
    low = _nibbles(block + 64 * half + 16 * (plane % 4), b, here, plane // 4, 2)
    high = (_bytes(block + 128 + 32 * half + 16 * (plane % 2), b, here, 2) >> (2 * (plane // 2))) & 3
    return _each(scale) * ((low | (high << 4)).to(tl.float32) - 32)


# ---- 4-bit codes


@triton.jit
def iq4_nl(row, g, b, here, plane: tl.constexpr):
    block = row + g * 18
    return _each(_half(block, here)) * _iq4(_nibbles(block + 2, b, here, plane, 2))


@triton.jit
def iq4_xs(row, g, b, here, plane: tl.constexpr):
    eighth, block = g % 8, row + (g // 8) * 136
    low = (_byte(block + 4 + eighth // 2, here) >> (4 * (eighth % 2)).to(tl.uint8)) & 15
    high = (_byte(block + 2 + eighth // 4, here) >> (2 * (eighth % 4)).to(tl.uint8)) & 3
    scale = _half(block, here) * ((low | (high << 4)).to(tl.float32) - 32)
    return _each(scale) * _iq4(_nibbles(block + 8 + 16 * eighth, b, here, plane, 4))


@triton.jit
def mxfp4(row, g, b, here, plane: tl.constexpr):
    block = row + g * 17
    e = _byte(block, here).to(tl.int32)  # 2^(e - 128); the two smallest are subnormal
    scale = _bits(tl.where(e < 2, 0x00200000 << tl.minimum(e, 1), (e - 1) << 23))
    return _each(scale) * _fp4(_nibbles(block + 1, b, here, plane, 1))


@triton.jit
def nvfp4(row, g, b, here, plane: tl.constexpr):
    quarter, block = g % 4, row + (g // 4) * 36
    # Unsigned E4M3 halved: the sign bit is ignored, and 0x7f (which would be NaN) stands for 0.
    e4m3 = _byte(block + quarter, here).to(tl.int32)
    exponent, mantissa = (e4m3 >> 3) & 15, e4m3 & 7
    normal = _bits(((exponent + 119) << 23) | (mantissa << 20))
    scale = tl.where(exponent == 0, mantissa.to(tl.float32) * 0.0009765625, normal)
    scale = tl.where(e4m3 == 0x7F, 0.0, scale)
    return _each(scale) * _fp4(_nibbles(block + 4 + 8 * quarter, b, here, plane, 4))
