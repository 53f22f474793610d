// The inner loops: everything that is done in registers.
#pragma once

#include <utility>

#include "lanes.hpp"

namespace ggufjac::GGUFJAC_ISA {

template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
    typedef F V;
};
template <>
struct VectorOf<double> {
    typedef D V;
};

// Register tiles: accumulators, operands and one broadcast fill the register file (32 vector registers with AVX-512 and
// on aarch64, 16 otherwise).
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int outer_rows = 14;
#else
constexpr int outer_rows = 6;
#endif
constexpr int outer_vectors = 2;
// Rows of a tile that is so many vectors wide.
template <int vectors>
constexpr int rows_of = vectors == 1 ? 12 : outer_rows;

template <class T>
constexpr int lanes_of = 4 * L / static_cast<int>(sizeof(T));

// Columns of the result that the widest call of `outer` computes.
template <class T>
constexpr int outer_width = outer_vectors * lanes_of<T>;

// Distance of the rows of `a`: an odd number of cache lines, so that the rows fall into different cache sets.
constexpr int outer_depth = 256;
template <class T>
constexpr int a_stride = outer_depth + 64 / static_cast<int>(sizeof(T));

// Sums longer than this are split: rounding errors grow with the length of a sum.
constexpr int outer_run = 128;

// c[r][j] (+)= sum over k of a[r][k] * b[k][j], for r < R and as many j as so many vectors hold, with
// 0 < depth <= 2 * outer_run.
template <class T, int R, int vectors>
void outer(int depth, const T* a, const T* b, std::int64_t ldb, T* c, std::int64_t ldc, bool add) {
    typedef typename VectorOf<T>::V V;
    constexpr int lanes = lanes_of<T>;
    V sum[R][vectors], first[R][vectors];  // `first` is in memory: the registers are taken
    for (int begin = 0; begin < depth; begin += outer_run) {
        const int end = begin + outer_run < depth ? begin + outer_run : depth;
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; ++v) {
                if (begin > 0) first[r][v] = sum[r][v];
                sum[r][v] = V{};
            }
        for (int k = begin; k < end; ++k) {
            V w[vectors];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; ++v) w[v] = load<V>(b + k * ldb + v * lanes);
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) {
                const V x = a[r * a_stride<T> + k] - V{};
#pragma GCC unroll 4
                for (int v = 0; v < vectors; ++v) sum[r][v] = fma(x, w[v], sum[r][v]);
            }
        }
    }
    const bool two = depth > outer_run;
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) {
            T* target = c + r * ldc + v * lanes;
            const V total = two ? sum[r][v] + first[r][v] : sum[r][v];
            store(target, add ? load<V>(target) + total : total);
        }
}

// The sum of n (a power of two) numbers, by halves.
template <int n, class T>
GGUFJAC_INLINE T sum_lanes(const T* v) {
    T s[n / 2];
    for (int i = 0; i < n / 2; ++i) s[i] = v[i] + v[i + n / 2];
    for (int h = n / 4; h > 0; h /= 2)
        for (int i = 0; i < h; ++i) s[i] += s[i + h];
    return s[0];
}

// L floats, as they are or as doubles.
GGUFJAC_INLINE void store_as(float* p, F v) { store(p, v); }
GGUFJAC_INLINE void store_as(double* p, F v) {
    store(p, low_half(v));
    store(p + L / 2, high_half(v));
}

typedef float F4 __attribute__((vector_size(16)));
typedef float F8 __attribute__((vector_size(32)));

// Four columns of the rows 0, 4, 8, ... of a matrix as one vector.
GGUFJAC_INLINE F every_fourth_row(const float* p, std::int64_t ld) {
    const F4 a = load<F4>(p);
#if GGUFJAC_LANES == 4
    (void)ld;
    return a;
#else
    const F8 ab = __builtin_shufflevector(a, load<F4>(p + 4 * ld), 0, 1, 2, 3, 4, 5, 6, 7);
#if GGUFJAC_LANES == 8
    return ab;
#else
    const F8 cd = __builtin_shufflevector(load<F4>(p + 8 * ld), load<F4>(p + 12 * ld), 0, 1, 2, 3, 4, 5, 6, 7);
    return __builtin_shufflevector(ab, cd, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#endif
#endif
}

// In every group of four lanes: two lanes of `a` and `b` interleaved, and two lanes of `a` followed by two of `b`; the
// first two with half = 0, the last two with half = 1.
template <int half, int... i>
GGUFJAC_INLINE F interleave(F a, F b, std::integer_sequence<int, i...>) {
    return __builtin_shufflevector(a, b, (i / 4 * 4 + i % 4 / 2 + 2 * half + i % 2 * L)...);
}
template <int half, int... i>
GGUFJAC_INLINE F join(F a, F b, std::integer_sequence<int, i...>) {
    return __builtin_shufflevector(a, b, (i / 4 * 4 + i % 2 + 2 * half + i % 4 / 2 * L)...);
}

// target[k][r] = source[r][k] for r < L and k < depth rounded up to a multiple of four.
template <class T>
GGUFJAC_INLINE void transpose(int depth, const float* source, std::int64_t lds, T* target, std::int64_t ldt) {
    constexpr std::make_integer_sequence<int, L> lanes;
    for (int k = 0; k < depth; k += 4) {
        F v[4];
        for (int i = 0; i < 4; ++i) v[i] = every_fourth_row(source + i * lds + k, lds);
        const F a = interleave<0>(v[0], v[1], lanes), b = interleave<1>(v[0], v[1], lanes);
        const F c = interleave<0>(v[2], v[3], lanes), d = interleave<1>(v[2], v[3], lanes);
        store_as(target + k * ldt, join<0>(a, c, lanes));
        store_as(target + (k + 1) * ldt, join<1>(a, c, lanes));
        store_as(target + (k + 2) * ldt, join<0>(b, d, lanes));
        store_as(target + (k + 3) * ldt, join<1>(b, d, lanes));
    }
}

}  // namespace ggufjac::GGUFJAC_ISA
