// Vectors of L lanes in the compilers' vector extension, and the few operations that need more than an operator.
//
// This header is compiled once per instruction set. Everything lives in a namespace of that set and has internal
// linkage, so that the linker can never replace one set's code by another's. For the same reason nothing here may
// instantiate a template of the standard library.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__F16C__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#ifndef GGUFJAC_ISA
#error "define GGUFJAC_ISA (a namespace name) and GGUFJAC_LANES (float lanes of a vector) before this header"
#endif

#define GGUFJAC_INLINE static inline __attribute__((always_inline))

namespace ggufjac::GGUFJAC_ISA {

constexpr int L = GGUFJAC_LANES;

typedef float F __attribute__((vector_size(4 * L)));
typedef double D __attribute__((vector_size(4 * L)));  // as many bytes as F, so half the lanes
typedef std::int32_t I __attribute__((vector_size(4 * L)));
typedef std::uint32_t U __attribute__((vector_size(4 * L)));
typedef float Half __attribute__((vector_size(2 * L)));  // half of F: as many lanes as D

template <class V>
GGUFJAC_INLINE V load(const void* p) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

template <class V>
GGUFJAC_INLINE void store(void* p, V v) {
    std::memcpy(p, &v, sizeof v);
}

// Minus zero, not plus: a - 0 is a for every a, while -0 + 0 is +0.
GGUFJAC_INLINE F splat(float a) { return a - F{}; }
GGUFJAC_INLINE F to_float(I v) { return __builtin_convertvector(v, F); }

GGUFJAC_INLINE std::uint16_t u16(const std::uint8_t* p) { return static_cast<std::uint16_t>(p[0] | p[1] << 8); }

GGUFJAC_INLINE std::uint32_t u32(const std::uint8_t* p) {
    std::uint32_t v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

GGUFJAC_INLINE std::uint64_t u64(const std::uint8_t* p) {
    std::uint64_t v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

// L bytes or 16-bit words to 32 bits each. (GCC 12 takes __builtin_convertvector for these apart into scalars.)
GGUFJAC_INLINE I bytes(const std::uint8_t* p) {
#if defined(__AVX512F__)
    return reinterpret_cast<I>(_mm512_cvtepu8_epi32(load<__m128i>(p)));
#elif defined(__AVX2__)
    return reinterpret_cast<I>(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#else
    typedef std::uint8_t Bytes __attribute__((vector_size(16)));
    typedef std::uint16_t Words __attribute__((vector_size(16)));
    const Bytes v = reinterpret_cast<Bytes>(U{u32(p), 0, 0, 0});
    // Interleaved with zeros twice: the two steps are one instruction each.
    const Words w = reinterpret_cast<Words>(
        __builtin_shufflevector(v, Bytes{}, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
    return reinterpret_cast<I>(__builtin_shufflevector(w, Words{}, 0, 8, 1, 9, 2, 10, 3, 11));
#endif
}

GGUFJAC_INLINE I signed_bytes(const std::uint8_t* p) {
#if defined(__AVX512F__)
    return reinterpret_cast<I>(_mm512_cvtepi8_epi32(load<__m128i>(p)));
#elif defined(__AVX2__)
    return reinterpret_cast<I>(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#else
    return bytes(p) << 24 >> 24;
#endif
}

GGUFJAC_INLINE U words(const std::uint8_t* p) {
#if defined(__AVX512F__)
    return reinterpret_cast<U>(_mm512_cvtepu16_epi32(load<__m256i>(p)));
#elif defined(__AVX2__)
    return reinterpret_cast<U>(_mm256_cvtepu16_epi32(load<__m128i>(p)));
#else
    typedef std::uint16_t Words __attribute__((vector_size(16)));
    const Words v = reinterpret_cast<Words>(U{u32(p), u32(p + 4), 0, 0});
    return reinterpret_cast<U>(__builtin_shufflevector(v, Words{}, 0, 8, 1, 9, 2, 10, 3, 11));
#endif
}

GGUFJAC_INLINE I iota() {
    I v{};
    for (int i = 0; i < L; ++i) v[i] = i;
    return v;
}

GGUFJAC_INLINE float bits_to_float(std::uint32_t bits) {
    float f;
    std::memcpy(&f, &bits, sizeof f);
    return f;
}

// IEEE half to float, exact for every pattern (subnormals become m * 2^-24).
GGUFJAC_INLINE float half_bits(std::uint16_t h) {
#ifdef __F16C__
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h)));
#else
    const std::uint32_t sign = (h & 0x8000u) << 16, em = h & 0x7fffu;
    const float small = static_cast<float>(static_cast<std::int32_t>(em)) * 0x1p-24f;
    std::uint32_t small_bits;
    std::memcpy(&small_bits, &small, sizeof small_bits);
    const std::uint32_t normal = (em << 13) + ((em >= 0x7c00u ? 255u - 31u : 127u - 15u) << 23);
    return bits_to_float(sign | (em < 0x400u ? small_bits : normal));
#endif
}

GGUFJAC_INLINE float half(const std::uint8_t* p) { return half_bits(u16(p)); }

// L halves to floats.
GGUFJAC_INLINE F halves(const std::uint8_t* p) {
#if defined(__AVX512F__)
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__F16C__)
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
    const U h = words(p), em = h & 0x7fffu;  // the rest as in half_bits
    const U small = reinterpret_cast<U>(to_float(reinterpret_cast<I>(em)) * 0x1p-24f);
    const U normal = (em << 13) + ((em >= 0x7c00u ? U{} + (255u - 31u) : U{} + (127u - 15u)) << 23);
    return reinterpret_cast<F>((h & 0x8000u) << 16 | (em < 0x400u ? small : normal));
#endif
}

// The lower and the upper half of the lanes as doubles.
GGUFJAC_INLINE D low_half(F v) {
#if defined(__AVX512F__)
    return _mm512_cvtps_pd(_mm512_castps512_ps256(v));
#elif defined(__AVX2__)
    return _mm256_cvtps_pd(_mm256_castps256_ps128(v));
#else
    return __builtin_convertvector(__builtin_shufflevector(v, v, 0, 1), D);
#endif
}

GGUFJAC_INLINE D high_half(F v) {
#if defined(__AVX512F__)
    return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
#elif defined(__AVX2__)
    return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
#else
    return __builtin_convertvector(__builtin_shufflevector(v, v, 2, 3), D);
#endif
}

// a * b + c, rounded once where the instruction set can. (Contraction is off in this build.)
GGUFJAC_INLINE F fma(F a, F b, F c) {
#if defined(__AVX512F__)
    return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__)
    return _mm256_fmadd_ps(a, b, c);
#elif defined(__ARM_FEATURE_FMA) && defined(__aarch64__)
    return vfmaq_f32(c, a, b);
#else
    return a * b + c;
#endif
}

GGUFJAC_INLINE D fma(D a, D b, D c) {
#if defined(__AVX512F__)
    return _mm512_fmadd_pd(a, b, c);
#elif defined(__FMA__)
    return _mm256_fmadd_pd(a, b, c);
#elif defined(__ARM_FEATURE_FMA) && defined(__aarch64__)
    return vfmaq_f64(c, a, b);
#else
    return a * b + c;
#endif
}

// table[q & 15] per lane.
GGUFJAC_INLINE F lookup16(const float* table, I q) {
#if defined(__AVX512F__)
    return _mm512_permutexvar_ps(reinterpret_cast<__m512i>(q), _mm512_loadu_ps(table));
#elif defined(__AVX2__)
    const __m256i i = reinterpret_cast<__m256i>(q);
    const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), i);
    const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), i);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(i, 28)));
#else
    F v{};
    for (int i = 0; i < L; ++i) v[i] = table[q[i] & 15];
    return v;
#endif
}

// ---- thirty-two bytes, for taking bit fields apart before they are widened

typedef std::uint32_t Bytes32 __attribute__((vector_size(32)));

GGUFJAC_INLINE Bytes32 every_byte(std::uint32_t byte) { return Bytes32{} + byte * 0x01010101u; }

// `value` (a power of two) in byte i where bit i of the word is set, else 0.
GGUFJAC_INLINE Bytes32 bits_to_bytes(std::uint32_t word, int value) {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    return reinterpret_cast<Bytes32>(_mm256_maskz_set1_epi8(word, static_cast<char>(value)));
#elif defined(__AVX2__)
    const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201u));
    const __m256i its_byte = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(word)), its_byte);
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
    return reinterpret_cast<Bytes32>(_mm256_and_si256(set, _mm256_set1_epi8(static_cast<char>(value))));
#else
    std::uint64_t spread[4];
    for (int i = 0; i < 4; ++i) {  // byte j of a word keeps bit j only, then becomes 1 if that is set
        const std::uint64_t bits = (word >> 8 * i & 255) * 0x0101010101010101u & 0x8040201008040201u;
        spread[i] = ((bits + 0x7f7f7f7f7f7f7f7fu) >> 7 & 0x0101010101010101u) * static_cast<unsigned>(value);
    }
    return load<Bytes32>(spread);
#endif
}

// Emits map(j, bytes j .. j + L - 1) as the weights offset + j onwards.
template <class Map, class Emit>
GGUFJAC_INLINE void each_byte(Bytes32 v, int offset, const Map& map, const Emit& emit) {
    alignas(32) std::uint8_t q[32];
    store(q, v);
    for (int j = 0; j < 32; j += L) emit(offset + j, map(j, bytes(q + j)));
}

}  // namespace ggufjac::GGUFJAC_ISA
