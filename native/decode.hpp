// Runs of blocks: expanding them, multiplying them on the way, and the table of all formats.
#pragma once

#include <utility>

#include "formats.hpp"
#include "kernels.hpp"

namespace ggufjac::GGUFJAC_ISA {

// Calls emit(i, j, v) with the weights i + j .. i + j + L - 1; j is known when compiling.
template <class Fmt, class Emit>
GGUFJAC_INLINE void each_vector(const std::uint8_t* p, std::int64_t n, const std::int8_t* grid, const Emit& emit) {
    if constexpr (Fmt::block == 1) {
        std::int64_t i = 0;
        for (; i + 2 * L <= n; i += 2 * L) {
            emit(i, 0, Fmt::lanes(p + i * Fmt::block_bytes));
            emit(i, L, Fmt::lanes(p + (i + L) * Fmt::block_bytes));
        }
        if (i + L <= n) emit(i, 0, Fmt::lanes(p + i * Fmt::block_bytes));
    } else {
        for (std::int64_t i = 0; i < n; i += Fmt::block, p += Fmt::block_bytes)
            Fmt::decode(p, grid, [&](int offset, F v) __attribute__((always_inline)) { emit(i, offset, v); });
    }
}

template <class Fmt>
void decode(const std::uint8_t* p, std::int64_t n, const std::int8_t* grid, float* y) {
    each_vector<Fmt>(p, n, grid,
                     [y](std::int64_t i, int j, F v) __attribute__((always_inline)) { store(y + i + j, v); });
    if (Fmt::block == 1 && n % L) {  // neither read nor write past the end
        const std::int64_t done = n / L * L;
        const auto rest = static_cast<std::size_t>(n - done);
        std::uint8_t source[L * Fmt::block_bytes] = {};
        float values[L];
        std::memcpy(source, p + done * Fmt::block_bytes, rest * Fmt::block_bytes);
        decode<Fmt>(source, L, grid, values);
        std::memcpy(y + done, values, rest * sizeof(float));
    }
}

// L numbers of type T.
template <class T>
struct Lanes;

template <>
struct Lanes<float> {
    F v;
    GGUFJAC_INLINE Lanes of(F w) { return {w}; }
    GGUFJAC_INLINE Lanes at(const float* p) { return {load<F>(p)}; }
    GGUFJAC_INLINE Lanes all(float a) { return {splat(a)}; }
    GGUFJAC_INLINE Lanes fused(Lanes a, Lanes b, Lanes c) { return {fma(a.v, b.v, c.v)}; }
    GGUFJAC_INLINE Lanes sum(Lanes a, Lanes b) { return {a.v + b.v}; }
    GGUFJAC_INLINE void put(float* p, Lanes a) { store(p, a.v); }
};

template <>
struct Lanes<double> {
    D low, high;
    GGUFJAC_INLINE Lanes of(F w) { return {low_half(w), high_half(w)}; }
    GGUFJAC_INLINE Lanes at(const double* p) { return {load<D>(p), load<D>(p + L / 2)}; }
    GGUFJAC_INLINE Lanes all(double a) { return {a - D{}, a - D{}}; }
    GGUFJAC_INLINE Lanes fused(Lanes a, Lanes b, Lanes c) {
        return {fma(a.low, b.low, c.low), fma(a.high, b.high, c.high)};
    }
    GGUFJAC_INLINE Lanes sum(Lanes a, Lanes b) { return {a.low + b.low, a.high + b.high}; }
    GGUFJAC_INLINE void put(double* p, Lanes a) {
        store(p, a.low);
        store(p + L / 2, a.high);
    }
};

template <class Fmt, class T, int M>
void dot_packed(const std::uint8_t* p, std::int64_t n, const std::int8_t* grid, const T* x, std::int64_t ldx, T* sums) {
    typedef Lanes<T> V;
    V even[M], odd[M];  // two chains, because one would wait for its own result
#pragma GCC unroll 8
    for (int c = 0; c < M; ++c) even[c] = odd[c] = V::all(0);
    each_vector<Fmt>(p, n, grid, [&](std::int64_t i, int j, F w) __attribute__((always_inline)) {
        const V v = V::of(w);
#pragma GCC unroll 8
        for (int c = 0; c < M; ++c) {
            if (j / L % 2)
                odd[c] = V::fused(v, V::at(x + c * ldx + i + j), odd[c]);
            else
                even[c] = V::fused(v, V::at(x + c * ldx + i + j), even[c]);
        }
    });
#pragma GCC unroll 8
    for (int c = 0; c < M; ++c) V::put(sums + c * L, V::sum(V::at(sums + c * L), V::sum(even[c], odd[c])));
}

template <class Fmt, class T>
void axpy_packed(const std::uint8_t* p, std::int64_t n, const std::int8_t* grid, T factor, T* out) {
    typedef Lanes<T> V;
    const V a = V::all(factor);
    each_vector<Fmt>(p, n, grid, [&](std::int64_t i, int j, F w) __attribute__((always_inline)) {
        V::put(out + i + j, V::fused(V::of(w), a, V::at(out + i + j)));
    });
}

template <class Fmt, class T, int... m>
constexpr Fused<T> fused_entry(std::integer_sequence<int, m...>) {
    return {{&dot_packed<Fmt, T, m + 1>...}, &axpy_packed<Fmt, T>};
}

template <class Fmt>
constexpr Format entry(int type) {
    return {type,
            Fmt::block,
            Fmt::block_bytes,
            Fmt::grid_size,
            &decode<Fmt>,
            fused_entry<Fmt, float>(std::make_integer_sequence<int, fused_columns>{}),
            fused_entry<Fmt, double>(std::make_integer_sequence<int, fused_columns>{})};
}

static constexpr Format formats[] = {
    entry<F32>(0),      entry<F16>(1),     entry<Q4_0>(2),     entry<Q4_1>(3),   entry<Q5_0>(6),    entry<Q5_1>(7),
    entry<Q8_0>(8),     entry<Q2_K>(10),   entry<Q3_K>(11),    entry<Q4_K>(12),  entry<Q5_K>(13),   entry<Q6_K>(14),
    entry<IQ2_XXS>(16), entry<IQ2_XS>(17), entry<IQ3_XXS>(18), entry<IQ1_S>(19), entry<IQ4_NL>(20), entry<IQ3_S>(21),
    entry<IQ2_S>(22),   entry<IQ4_XS>(23), entry<F64>(28),     entry<IQ1_M>(29), entry<BF16>(30),   entry<TQ1_0>(34),
    entry<TQ2_0>(35),   entry<MXFP4>(39),  entry<NVFP4>(40),   entry<Q1_0>(41),  entry<Q2_0>(42),
};

static const Format* find_format(int type) {
    for (const Format& f : formats)
        if (f.type == type) return &f;
    return nullptr;
}

template <class T>
GGUFJAC_INLINE const Fused<T>& fused_of(const Format& f) {
    if constexpr (sizeof(T) == sizeof(float))
        return f.f32;
    else
        return f.f64;
}

}  // namespace ggufjac::GGUFJAC_ISA
