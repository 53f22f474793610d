// One struct per block format: how many weights and bytes a block has, and how to expand it.
//
// `decode(p, grid, emit)` expands one block at `p` and calls `emit(offset, vector)` with the weights `offset ..
// offset + L - 1`, in any order, each exactly once. The caller decides where they go. Formats without blocks (F32, F16,
// BF16, F64) expand L weights at a time. The layouts are those of ggml-common.h (ggml); the arithmetic is that of
// `gguf.quants` (gguf-py) operation for operation, so that the results are the same bits. This code must therefore be
// compiled without contraction of a*b+c.
//
// Codebooks (`grid`) are tables of int8 that the caller brings; `grid_size` is their length.
#pragma once

#include "lanes.hpp"

namespace ggufjac::GGUFJAC_ISA {

// ---- no blocks

struct F32 {
    static constexpr int block = 1, block_bytes = 4, grid_size = 0;
    GGUFJAC_INLINE F lanes(const std::uint8_t* p) { return load<F>(p); }
};

struct F16 {
    static constexpr int block = 1, block_bytes = 2, grid_size = 0;
    GGUFJAC_INLINE F lanes(const std::uint8_t* p) { return halves(p); }
};

struct BF16 {
    static constexpr int block = 1, block_bytes = 2, grid_size = 0;
    GGUFJAC_INLINE F lanes(const std::uint8_t* p) { return reinterpret_cast<F>(words(p) << 16); }
};

struct F64 {
    static constexpr int block = 1, block_bytes = 8, grid_size = 0;
    GGUFJAC_INLINE F lanes(const std::uint8_t* p) {
        const Half low = __builtin_convertvector(load<D>(p), Half);
        const Half high = __builtin_convertvector(load<D>(p + 4 * L), Half);
        F v;
        std::memcpy(&v, &low, sizeof low);
        std::memcpy(reinterpret_cast<char*>(&v) + sizeof low, &high, sizeof high);
        return v;
    }
};

// ---- helpers

// `n` bytes of nibbles: the low ones are weights 0..n-1, the high ones n..2n-1. `low` and `high` map a vector of
// numbers 0..15 to weights; with 16 lanes a map is one permutation of its 16 values.
template <int n, class Low, class High, class Emit>
GGUFJAC_INLINE void nibbles(const std::uint8_t* p, int offset, const Low& low, const High& high, const Emit& emit) {
#ifdef __AVX512F__
    const F low_table = low(iota()), high_table = high(iota());
    for (int j = 0; j < n; j += L) {
        const __m512i q = reinterpret_cast<__m512i>(bytes(p + j));
        emit(offset + j, static_cast<F>(_mm512_permutexvar_ps(q, low_table)));
        emit(offset + n + j, static_cast<F>(_mm512_permutexvar_ps(_mm512_srli_epi32(q, 4), high_table)));
    }
#else
    for (int j = 0; j < n; j += L) {
        const I q = bytes(p + j);
        emit(offset + j, low(q & 15));
        emit(offset + n + j, high(q >> 4));
    }
#endif
}

// The same with both halves mapped alike, through a table of 16 values.
template <int n, class Emit>
GGUFJAC_INLINE void nibble_codes(const std::uint8_t* p, int offset, float d, const float* codes, const Emit& emit) {
    for (int j = 0; j < n; j += L) {
        const I q = bytes(p + j);
        emit(offset + j, splat(d) * lookup16(codes, q));
        emit(offset + n + j, splat(d) * lookup16(codes, q >> 4));
    }
}

// Lanes first .. first + L - 1 of sixteen signed bytes, given as two words of eight.
GGUFJAC_INLINE I byte_lanes(std::uint64_t a, std::uint64_t b, [[maybe_unused]] int first) {
#if defined(__AVX512F__)
    return reinterpret_cast<I>(
        _mm512_cvtepi8_epi32(_mm_set_epi64x(static_cast<long long>(b), static_cast<long long>(a))));
#elif defined(__AVX2__)
    return reinterpret_cast<I>(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128(static_cast<long long>(first ? b : a))));
#else
    const std::uint64_t shifted = (first < 8 ? a : b) >> 8 * (first % 8);
    std::uint8_t lanes[8];
    std::memcpy(lanes, &shifted, sizeof lanes);
    return signed_bytes(lanes);
#endif
}

// Bits `first .. first + L - 1` of a word, one per lane.
GGUFJAC_INLINE I bit_lanes(std::uint32_t word, int first) {
    const U v = (U{} + (word >> first)) >> reinterpret_cast<U>(iota());
    return reinterpret_cast<I>(v & 1u);
}

// Sixteen bytes of nibbles as 32 bytes: the low ones, then the high ones.
GGUFJAC_INLINE Bytes32 two_nibbles(const std::uint8_t* p) {
    typedef std::uint32_t Bytes16 __attribute__((vector_size(16)));
    const Bytes16 q = load<Bytes16>(p), low = q & 0x0f0f0f0fu, high = q >> 4 & 0x0f0f0f0fu;
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
}

// y[i] = d * (p[i] + shift) for sixteen signed bytes.
GGUFJAC_INLINE void scale_bytes(const std::uint8_t* p, int shift, float d, float* y) {
    for (int i = 0; i < 16; i += L) store(y + i, splat(d) * to_float(signed_bytes(p + i) + shift));
}

// The 6-bit scales and minima of Q4_K and Q5_K, eight of each in twelve bytes, times the super-block's factors.
struct ScaleMin {
    alignas(64) float values[16];  // eight scales, eight minima
    GGUFJAC_INLINE void unpack(const std::uint8_t* p, float d, float dmin, ScaleMin& s) {
        const std::uint32_t a = u32(p), b = u32(p + 4), c = u32(p + 8);
        const std::uint32_t packed[4] = {a & 0x3f3f3f3f, (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030), b & 0x3f3f3f3f,
                                         (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030)};
        std::uint8_t packed_bytes[16];
        std::memcpy(packed_bytes, packed, sizeof packed_bytes);
        for (int i = 0; i < 16; i += L) {
            const F factors = iota() + i < 8 ? splat(d) : splat(dmin);
            store(s.values + i, factors * to_float(bytes(packed_bytes + i)));
        }
    }
};

// The values of the 4-bit codes of IQ4_NL and IQ4_XS, and of MXFP4 and NVFP4 (E2M1, doubled).
constexpr float codes_iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr float codes_fp4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// ---- legacy blocks

struct Q1_0 {
    static constexpr int block = 128, block_bytes = 18, grid_size = 0;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t*, const Emit& emit) {
        const float d = half(p);
        for (int i = 0; i < block; i += 32) {
            const std::uint32_t word = u32(p + 2 + i / 8);
            for (int j = 0; j < 32; j += L) emit(i + j, splat(d) * to_float(2 * bit_lanes(word, j) - 1));
        }
    }
};

struct Q2_0 {
    static constexpr int block = 64, block_bytes = 18, grid_size = 0;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t*, const Emit& emit) {
        const F d = splat(half(p));
        for (int i = 0; i < block; i += 16) {
            const std::uint32_t word = u32(p + 2 + i / 4);
            for (int j = 0; j < 16; j += L) {
                const U q = (U{} + (word >> 2 * j)) >> 2 * reinterpret_cast<U>(iota());
                emit(i + j, d * to_float(reinterpret_cast<I>(q & 3u) - 1));
            }
        }
    }
};

struct Q4_0 {
    static constexpr int block = 32, block_bytes = 18, grid_size = 0;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t*, const Emit& emit) {
        const F d = splat(half(p));
        const auto map = [&](I q) { return d * to_float(q - 8); };
        nibbles<16>(p + 2, 0, map, map, emit);
    }
};

struct Q4_1 {
    static constexpr int block = 32, block_bytes = 20, grid_size = 0;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t*, const Emit& emit) {
        const F d = splat(half(p)), m = splat(half(p + 2));
        const auto map = [&](I q) { return d * to_float(q) + m; };
        nibbles<16>(p + 4, 0, map, map, emit);
    }
};

struct Q5_0 {
    static constexpr int block = 32, block_bytes = 22, grid_size = 0;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t*, const Emit& emit) {
        const F d = splat(half(p));
        const Bytes32 q = two_nibbles(p + 6) | bits_to_bytes(u32(p + 2), 16);
        each_byte(q, 0, [&](int, I v) { return d * to_float(v - 16); }, emit);
    }
};

struct Q5_1 {
    static constexpr int block = 32, block_bytes = 24, grid_size = 0;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t*, const Emit& emit) {
        const F d = splat(half(p)), m = splat(half(p + 2));
        const Bytes32 q = two_nibbles(p + 8) | bits_to_bytes(u32(p + 4), 16);
        each_byte(q, 0, [&](int, I v) { return d * to_float(v) + m; }, emit);
    }
};

struct Q8_0 {
    static constexpr int block = 32, block_bytes = 34, grid_size = 0;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t*, const Emit& emit) {
        const F d = splat(half(p));
        for (int j = 0; j < 32; j += L) emit(j, to_float(signed_bytes(p + 2 + j)) * d);
    }
};

// ---- K-quants

struct Q2_K {
    static constexpr int block = 256, block_bytes = 84, grid_size = 0;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t*, const Emit& emit) {
        const float d = half(p + 80), dmin = half(p + 82);
        alignas(64) float scales[16], mins[16];  // of sixteen weights each
        for (int i = 0; i < 16; i += L) {
            store(scales + i, splat(d) * to_float(bytes(p + i) & 15));
            store(mins + i, splat(dmin) * to_float(bytes(p + i) >> 4));
        }
        for (int g = 0; g < 8; ++g) {
            const Bytes32 q = load<Bytes32>(p + 16 + 32 * (g / 4)) >> 2 * (g % 4) & every_byte(3);
            const auto map = [&](int j, I v) {
                return splat(scales[2 * g + j / 16]) * to_float(v) - splat(mins[2 * g + j / 16]);
            };
            each_byte(q, 32 * g, map, emit);
        }
    }
};

struct Q3_K {
    static constexpr int block = 256, block_bytes = 110, grid_size = 0;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t*, const Emit& emit) {
        // Sixteen 6-bit scales: the low nibbles in eight bytes, the upper two bits in four.
        const std::uint32_t a = u32(p + 96), b = u32(p + 100), c = u32(p + 104);
        const std::uint32_t packed[4] = {
            (a & 0x0f0f0f0f) | (c & 0x03030303) << 4, (b & 0x0f0f0f0f) | (c >> 2 & 0x03030303) << 4,
            (a >> 4 & 0x0f0f0f0f) | (c >> 4 & 0x03030303) << 4, (b >> 4 & 0x0f0f0f0f) | (c >> 6 & 0x03030303) << 4};
        std::uint8_t values[16];
        std::memcpy(values, packed, sizeof values);
        alignas(64) float scales[16];
        scale_bytes(values, -32, half(p + 108), scales);
        const Bytes32 mask = load<Bytes32>(p);
        for (int g = 0; g < 8; ++g) {
            const Bytes32 low = load<Bytes32>(p + 32 + 32 * (g / 4)) >> 2 * (g % 4) & every_byte(3);
            const Bytes32 q = low | (mask >> g & every_byte(1)) << 2;
            each_byte(q, 32 * g, [&](int j, I v) { return splat(scales[2 * g + j / 16]) * to_float(v - 4); }, emit);
        }
    }
};

struct Q4_K {
    static constexpr int block = 256, block_bytes = 144, grid_size = 0;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t*, const Emit& emit) {
        const float d = half(p), dmin = half(p + 2);
        ScaleMin s;
        ScaleMin::unpack(p + 4, d, dmin, s);
        for (int g = 0; g < 8; g += 2) {
            const F d0 = splat(s.values[g]), m0 = splat(s.values[8 + g]);
            const F d1 = splat(s.values[g + 1]), m1 = splat(s.values[9 + g]);
            nibbles<32>(
                p + 16 + 16 * g, 32 * g, [&](I q) { return d0 * to_float(q) - m0; },
                [&](I q) { return d1 * to_float(q) - m1; }, emit);
        }
    }
};

struct Q5_K {
    static constexpr int block = 256, block_bytes = 176, grid_size = 0;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t*, const Emit& emit) {
        const float d = half(p), dmin = half(p + 2);
        ScaleMin s;
        ScaleMin::unpack(p + 4, d, dmin, s);
        for (int g = 0; g < 8; g += 2) {
            const F d0 = splat(s.values[g]), m0 = splat(s.values[8 + g]);
            const F d1 = splat(s.values[g + 1]), m1 = splat(s.values[9 + g]);
            const Bytes32 q = load<Bytes32>(p + 48 + 16 * g), high = load<Bytes32>(p + 16);
            const Bytes32 q0 = (q & every_byte(15)) | (high >> g & every_byte(1)) << 4;
            const Bytes32 q1 = (q >> 4 & every_byte(15)) | (high >> (g + 1) & every_byte(1)) << 4;
            each_byte(q0, 32 * g, [&](int, I v) { return d0 * to_float(v) - m0; }, emit);
            each_byte(q1, 32 * g + 32, [&](int, I v) { return d1 * to_float(v) - m1; }, emit);
        }
    }
};

struct Q6_K {
    static constexpr int block = 256, block_bytes = 210, grid_size = 0;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t*, const Emit& emit) {
        alignas(64) float scales[16];
        scale_bytes(p + 192, 0, half(p + 208), scales);
        for (int h = 0; h < 2; ++h) {  // halves of 128 weights
            const Bytes32 first = load<Bytes32>(p + 64 * h), second = load<Bytes32>(p + 64 * h + 32);
            const Bytes32 high = load<Bytes32>(p + 128 + 32 * h), nibble = every_byte(15), two = every_byte(0x30);
            const Bytes32 q[4] = {(first & nibble) | (high << 4 & two), (second & nibble) | (high << 2 & two),
                                  (first >> 4 & nibble) | (high & two), (second >> 4 & nibble) | (high >> 2 & two)};
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) {
                const float* scale = scales + 8 * h + 2 * k;
                const auto map = [&](int j, I v) { return splat(scale[j / 16]) * to_float(v - 32); };
                each_byte(q[k], 128 * h + 32 * k, map, emit);
            }
        }
    }
};

// ---- ternary

struct TQ1_0 {
    static constexpr int block = 256, block_bytes = 54, grid_size = 0;
    // `n` bytes hold `digits` ternary digits each, the digit k of all bytes before the digit k + 1.
    template <int n, int digits>
    GGUFJAC_INLINE void unpack(const std::uint8_t* p, float d, float* y) {
        std::uint8_t power = 1;
        for (int k = 0; k < digits; ++k, power = static_cast<std::uint8_t>(power * 3))
            for (int j = 0; j < n; ++j)
                y[n * k + j] = d * static_cast<float>((static_cast<std::uint8_t>(p[j] * power) * 3 >> 8) - 1);
    }
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t*, const Emit& emit) {
        const float d = half(p + 52);
        float y[block];
        unpack<32, 5>(p, d, y);
        unpack<16, 5>(p + 32, d, y + 160);
        unpack<4, 4>(p + 48, d, y + 240);
        for (int i = 0; i < block; i += L) emit(i, load<F>(y + i));
    }
};

struct TQ2_0 {
    static constexpr int block = 256, block_bytes = 66, grid_size = 0;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t*, const Emit& emit) {
        const F d = splat(half(p + 64));
        for (int h = 0; h < 2; ++h)
            for (int k = 0; k < 4; ++k)
                for (int j = 0; j < 32; j += L)
                    emit(128 * h + 32 * k + j, d * to_float((bytes(p + 32 * h + j) >> 2 * k & 3) - 1));
    }
};

// ---- 4-bit codes

struct IQ4_NL {
    static constexpr int block = 32, block_bytes = 18, grid_size = 0;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t*, const Emit& emit) {
        nibble_codes<16>(p + 2, 0, half(p), codes_iq4, emit);
    }
};

struct IQ4_XS {
    static constexpr int block = 256, block_bytes = 136, grid_size = 0;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t*, const Emit& emit) {
        const float d = half(p);
        const unsigned high = u16(p + 2);
        for (int g = 0; g < 8; ++g) {
            const int low = p[4 + g / 2] >> (g % 2 * 4) & 15;
            const float scale = d * static_cast<float>((low | static_cast<int>(high >> 2 * g & 3) << 4) - 32);
            nibble_codes<16>(p + 8 + 16 * g, 32 * g, scale, codes_iq4, emit);
        }
    }
};

struct MXFP4 {
    static constexpr int block = 32, block_bytes = 17, grid_size = 0;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t*, const Emit& emit) {
        const std::uint32_t e = p[0];  // 2^(e - 128); the two smallest are subnormal
        nibble_codes<16>(p + 1, 0, bits_to_float(e < 2 ? 0x00200000u << e : (e - 1) << 23), codes_fp4, emit);
    }
};

struct NVFP4 {
    static constexpr int block = 64, block_bytes = 36, grid_size = 0;
    // Unsigned E4M3 halved: the sign bit is ignored, and 0x7f (which would be NaN) stands for 0.
    GGUFJAC_INLINE float scale(std::uint8_t b) {
        const int exponent = b >> 3 & 15, mantissa = b & 7;
        if (b == 0x7f) return 0.0f;
        if (exponent == 0) return static_cast<float>(mantissa) * 0x1p-10f;
        return bits_to_float(static_cast<std::uint32_t>((exponent + 119) << 23 | mantissa << 20));
    }
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t*, const Emit& emit) {
        constexpr std::uint64_t low = 0x0f0f0f0f0f0f0f0f;
        for (int g = 0; g < 4; ++g) {
            const F d = splat(scale(p[g]));
            const std::uint64_t q = u64(p + 4 + 8 * g);
            for (int j = 0; j < 16; j += L)
                emit(16 * g + j, d * lookup16(codes_fp4, byte_lanes(q & low, q >> 4 & low, j)));
        }
    }
};

// ---- codebooks

// A seven-bit sign pattern stands for eight signs: the eighth makes their number even.
GGUFJAC_INLINE unsigned with_parity(unsigned seven) {
    return seven | static_cast<unsigned>(__builtin_parity(seven)) << 7;
}

GGUFJAC_INLINE std::uint64_t row_of_8(const std::int8_t* grid, unsigned index) {
    return u64(reinterpret_cast<const std::uint8_t*>(grid + 8 * index));
}

// Two rows of four.
GGUFJAC_INLINE std::uint64_t rows_of_4(const std::int8_t* grid, unsigned first, unsigned second) {
    const auto* p = reinterpret_cast<const std::uint8_t*>(grid);
    return u32(p + 4 * first) | static_cast<std::uint64_t>(u32(p + 4 * second)) << 32;
}

// Sixteen weights d * (+-code): bit j of `signs` set means minus.
template <class Emit>
GGUFJAC_INLINE void signed_codes(std::uint64_t a, std::uint64_t b, unsigned signs, float d, int offset,
                                 const Emit& emit) {
    for (int j = 0; j < 16; j += L) {
        const U minus = reinterpret_cast<U>(bit_lanes(signs, j)) << 31;
        const F magnitude = splat(d) * to_float(byte_lanes(a, b, j));
        emit(offset + j, reinterpret_cast<F>(reinterpret_cast<U>(magnitude) ^ minus));
    }
}

// Sixteen weights d * (code + delta), with a delta for each eight.
template <class Emit>
GGUFJAC_INLINE void shifted_codes(std::uint64_t a, std::uint64_t b, float delta_a, float delta_b, float d, int offset,
                                  const Emit& emit) {
    for (int j = 0; j < 16; j += L) {
        const F delta = iota() + j < 8 ? splat(delta_a) : splat(delta_b);
        emit(offset + j, splat(d) * (to_float(byte_lanes(a, b, j)) + delta));
    }
}

GGUFJAC_INLINE float delta_of(bool negative) { return negative ? -0.125f : 0.125f; }

struct IQ2_XXS {
    static constexpr int block = 256, block_bytes = 66, grid_size = 256 * 8;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t* grid, const Emit& emit) {
        const float d = half(p);
        for (int g = 0; g < 8; ++g) {
            const std::uint8_t* q = p + 2 + 8 * g;
            const std::uint32_t packed = u32(q + 4);
            const float scale = d * (0.5f + static_cast<float>(packed >> 28)) * 0.25f;
            for (int l = 0; l < 4; l += 2)
                signed_codes(row_of_8(grid, q[l]), row_of_8(grid, q[l + 1]),
                             with_parity(packed >> 7 * l & 127) | with_parity(packed >> (7 * l + 7) & 127) << 8, scale,
                             32 * g + 8 * l, emit);
        }
    }
};

struct IQ2_XS {
    static constexpr int block = 256, block_bytes = 74, grid_size = 512 * 8;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t* grid, const Emit& emit) {
        const float d = half(p);
        for (int g = 0; g < 16; ++g) {
            const unsigned a = u16(p + 2 + 4 * g), b = u16(p + 4 + 4 * g);
            const int nibble = p[66 + g / 2] >> (g % 2 * 4) & 15;
            const float scale = d * (0.5f + static_cast<float>(nibble)) * 0.25f;
            signed_codes(row_of_8(grid, a & 511), row_of_8(grid, b & 511),
                         with_parity(a >> 9) | with_parity(b >> 9) << 8, scale, 16 * g, emit);
        }
    }
};

struct IQ2_S {
    static constexpr int block = 256, block_bytes = 82, grid_size = 1024 * 8;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t* grid, const Emit& emit) {
        const float d = half(p);
        for (int g = 0; g < 16; ++g) {
            const unsigned high = p[66 + g / 2] >> (g % 2 * 4);
            const unsigned a = p[2 + 2 * g] | (high & 3) << 8, b = p[3 + 2 * g] | (high >> 2 & 3) << 8;
            const int nibble = p[74 + g / 2] >> (g % 2 * 4) & 15;
            const float scale = d * (0.5f + static_cast<float>(nibble)) * 0.25f;
            signed_codes(row_of_8(grid, a), row_of_8(grid, b), u16(p + 34 + 2 * g), scale, 16 * g, emit);
        }
    }
};

struct IQ3_XXS {
    static constexpr int block = 256, block_bytes = 98, grid_size = 256 * 4;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t* grid, const Emit& emit) {
        const float d = half(p);
        for (int g = 0; g < 8; ++g) {
            const std::uint32_t packed = u32(p + 66 + 4 * g);
            const float scale = d * (0.5f + static_cast<float>(packed >> 28)) * 0.5f;
            for (int l = 0; l < 4; l += 2) {
                const std::uint8_t* q = p + 2 + 8 * g + 2 * l;
                signed_codes(rows_of_4(grid, q[0], q[1]), rows_of_4(grid, q[2], q[3]),
                             with_parity(packed >> 7 * l & 127) | with_parity(packed >> (7 * l + 7) & 127) << 8, scale,
                             32 * g + 8 * l, emit);
            }
        }
    }
};

struct IQ3_S {
    static constexpr int block = 256, block_bytes = 110, grid_size = 512 * 4;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t* grid, const Emit& emit) {
        const float d = half(p);
        for (int g = 0; g < 16; ++g) {
            const std::uint8_t* q = p + 2 + 4 * g;
            const unsigned high = p[66 + g / 2] >> (g % 2 * 4);
            const int nibble = p[106 + g / 4] >> (g / 2 % 2 * 4) & 15;
            const float scale = d * static_cast<float>(1 + 2 * nibble);
            signed_codes(rows_of_4(grid, q[0] | (high & 1) << 8, q[1] | (high >> 1 & 1) << 8),
                         rows_of_4(grid, q[2] | (high >> 2 & 1) << 8, q[3] | (high >> 3 & 1) << 8), u16(p + 74 + 2 * g),
                         scale, 16 * g, emit);
        }
    }
};

struct IQ1_S {
    static constexpr int block = 256, block_bytes = 50, grid_size = 2048 * 8;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t* grid, const Emit& emit) {
        const float d = half(p);
        for (int g = 0; g < 8; ++g) {
            const unsigned high = u16(p + 34 + 2 * g);
            const float scale = d * static_cast<float>(2 * (high >> 12 & 7) + 1), delta = delta_of(high & 0x8000);
            const std::uint8_t* q = p + 2 + 4 * g;
            for (int l = 0; l < 4; l += 2)
                shifted_codes(row_of_8(grid, q[l] | (high >> 3 * l & 7) << 8),
                              row_of_8(grid, q[l + 1] | (high >> (3 * l + 3) & 7) << 8), delta, delta, scale,
                              32 * g + 8 * l, emit);
        }
    }
};

struct IQ1_M {
    static constexpr int block = 256, block_bytes = 56, grid_size = 2048 * 8;
    template <class Emit>
    GGUFJAC_INLINE void decode(const std::uint8_t* p, const std::int8_t* grid, const Emit& emit) {
        // The super-block's half scale is spread over the top four bits of the four 16-bit scale words.
        const std::uint64_t words = u64(p + 48);
        const float d = half_bits(static_cast<std::uint16_t>((words >> 12 & 0x000f) | (words >> 24 & 0x00f0) |
                                                             (words >> 36 & 0x0f00) | (words >> 48 & 0xf000)));
        for (int g = 0; g < 16; ++g) {
            const unsigned high = p[32 + g];
            const float scale =
                d * static_cast<float>(2 * static_cast<int>(words >> (16 * (g / 4) + 3 * (g % 4)) & 7) + 1);
            shifted_codes(row_of_8(grid, p[2 * g] | (high & 7) << 8),
                          row_of_8(grid, p[2 * g + 1] | (high >> 4 & 7) << 8), delta_of(high & 8),
                          delta_of(high & 0x80), scale, 16 * g, emit);
        }
    }
};

}  // namespace ggufjac::GGUFJAC_ISA
