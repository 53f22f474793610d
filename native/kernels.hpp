// What one instruction set offers: a table of functions. The dispatcher picks a table; the rest of the extension sees
// only this header.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ggufjac {

// Half-open.
struct Range {
    std::int64_t begin, end;
    std::int64_t size() const { return end - begin; }
};

// The most columns that `Fused::dot` multiplies.
constexpr int fused_columns = 6;

// Products with a run of weights that are multiplied as they are expanded, without being stored. The length of the run
// is a multiple of 16.
template <class T>
struct Fused {
    // [columns - 1]: sums[c][0 .. 16) += products of the run with x[c][0 .. n).
    void (*dot[fused_columns])(const std::uint8_t* p, std::int64_t n, const std::int8_t* grid, const T* x,
                               std::int64_t ldx, T* sums);
    // out[0 .. n) += factor * run
    void (*axpy)(const std::uint8_t* p, std::int64_t n, const std::int8_t* grid, T factor, T* out);
};

struct Format {
    int type;  // ggml's number
    int block, block_bytes;
    int grid_size;  // entries of the codebook, 0 without one
    // Expands `n` weights (a multiple of `block`) into y[0 .. n).
    void (*decode)(const std::uint8_t* p, std::int64_t n, const std::int8_t* grid, float* y);
    Fused<float> f32;
    Fused<double> f64;
};

// A packed matrix. Rows are `row_bytes` apart, nothing is aligned.
struct Weights {
    const Format* format;
    const std::uint8_t* data;
    std::int64_t rows, cols, row_bytes;
    const std::int8_t* grid;
};

// out = x W^T (apply: x is [m, cols], out [m, rows]) or x W (adjoint: x is [m, rows], out [m, cols]).
template <class T>
struct Product {
    Weights w;
    const T* x;
    std::int64_t ldx, m;
    T* out;
};

// Computes the part of `out` given by a range of its columns and a range of its rows. No other part is written, and
// every value depends on `m`, `x` and `w` only, never on how the output was cut into ranges. For the adjoint a range of
// columns begins at a block and, but for the last, is a multiple of 32.
template <class T>
using ProductPart = void (*)(const Product<T>&, Range outputs, Range columns, void* scratch);

struct Kernels {
    const char* isa;
    const Format* (*format)(int type);  // nullptr for a type that holds no weights
    ProductPart<float> apply_f32, adjoint_f32;
    ProductPart<double> apply_f64, adjoint_f64;
    std::size_t scratch_bytes;  // of every ProductPart; aligned to 64 bytes
    // Independent fused multiply-adds in registers, `rounds` times; returns how many operations (two per lane) it did.
    double (*peak_f32)(std::int64_t rounds);
    double (*peak_f64)(std::int64_t rounds);
};

// nullptr where this build lacks the instruction set.
const Kernels* kernels_avx512();
const Kernels* kernels_avx2();
const Kernels* kernels_portable();

}  // namespace ggufjac
