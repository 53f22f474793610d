// Products of blocks with packed weights.
//
// Which of these loops runs depends on the product alone, not on the threads:
//   * many columns: a panel of weights (256 along the summed dimension, some hundred across) is expanded once into the
//     second-level cache and multiplied with all columns in hand by `outer`. For the adjoint the expanded rows are the
//     panel; for apply they are transposed on the way.
//   * few columns, apply: rows are expanded into the first-level cache and multiplied by `dot`.
//   * one or two columns, apply, and one, adjoint: weights are multiplied in the registers in which they appear.
// Sums run in blocks along the summed dimension, in the same order for every element of the result.
#pragma once

#include "decode.hpp"
#include "micro.hpp"

namespace ggufjac::GGUFJAC_ISA {

// Up to so many columns `dot` is faster than transposing weights for `outer` (measured on Zen 4 and Zen 3, guessed for
// aarch64).
#if defined(__AVX512F__)
constexpr std::int64_t few_columns = 48;
#else
constexpr std::int64_t few_columns = 16;
#endif

// Columns of the widest panel: a multiple of every block, because panels of the adjoint are cut along the blocks.
template <class T>
constexpr int panel_width = L == 16 && sizeof(T) == sizeof(float) ? 512 : 256;
// Rows of a panel are an odd number of cache lines apart, so that they fall into different cache sets.
template <class T>
constexpr int panel_stride = panel_width<T> + 64 / static_cast<int>(sizeof(T));

constexpr int dot_depth = 1024, decoded_stride = dot_depth + 16;  // floats of a row that `dot` takes at a time
constexpr int dot_tile = 32;  // rows of weights that share one pass over a chunk of x

// The adjoint of one column sums `group_rows` rows in a buffer of `group_width` columns before it adds to the output:
// rounding errors grow with the length of a sum.
constexpr std::int64_t group_rows = 128, group_width = 1024;
// `apply` of one or two columns sums so many weights in registers.
constexpr std::int64_t fused_run = 2048;

// Columns that meet a panel together: whole tiles, few enough to stay in the second-level cache beside it.
constexpr std::int64_t group_columns = 8 * outer_rows;

template <class T>
struct alignas(64) Scratch {
    float decoded[L > dot_rows ? L : dot_rows][decoded_stride];  // expanded rows
    T widened[dot_rows][decoded_stride];                         // the same as T, for `dot`
    T panel[outer_depth * panel_stride<T>];
    T a[group_columns * a_stride<T>];
    T edge[outer_rows * outer_width<T>];
    T sums[dot_tile * few_columns * lanes_of<T>];
    T tail[few_columns * lanes_of<T>];
    T group[group_width];
};

GGUFJAC_INLINE constexpr std::int64_t least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
GGUFJAC_INLINE std::int64_t round_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b * b; }

GGUFJAC_INLINE const std::uint8_t* packed(const Weights& w, std::int64_t row, std::int64_t col) {
    return w.data + row * w.row_bytes + col / w.format->block * w.format->block_bytes;
}

GGUFJAC_INLINE void prefetch(const std::uint8_t* p, std::int64_t bytes) {
    for (std::int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i, 0, 2);
}

// Expands w[row][col .. col + n) into y, zeros up to y[padded).
template <class T>
GGUFJAC_INLINE void expand(const Weights& w, std::int64_t row, std::int64_t col, std::int64_t n, std::int64_t padded,
                           float* buffer, T* y) {
    if constexpr (sizeof(T) == sizeof(float)) {
        (void)buffer;
        w.format->decode(packed(w, row, col), n, w.grid, y);
    } else {
        w.format->decode(packed(w, row, col), n, w.grid, buffer);
        for (std::int64_t i = 0; i < n; ++i) y[i] = buffer[i];
    }
    for (std::int64_t i = n; i < padded; ++i) y[i] = 0;
}

// ---- many columns

template <class T>
using Outer = void (*)(int, const T*, const T*, std::int64_t, T*, std::int64_t, bool);

template <class T, int... r>
constexpr Outer<T> outer_of(int rows, std::integer_sequence<int, r...>) {
    constexpr Outer<T> table[] = {&outer<T, r + 1>...};
    return table[rows - 1];
}

// out[c][0 .. width) (+)= x[c][0 .. depth) @ panel, for the columns c of the range. A slice of the panel stays in the
// first-level cache while a group of columns passes it.
template <class T>
void multiply_panel(Scratch<T>& s, int depth, std::int64_t width, const T* x, std::int64_t ldx, Range columns, T* out,
                    std::int64_t ldo, bool add) {
    const std::int64_t m = columns.size(), tiles = (m + outer_rows - 1) / outer_rows;
    constexpr std::int64_t group = group_columns / outer_rows;
    const auto start = [&](std::int64_t t) { return columns.begin + m * t / tiles; };
    for (std::int64_t g = 0; g < tiles; g += group) {
        const std::int64_t end = least(tiles, g + group), begin = start(g);
        for (std::int64_t c = begin; c < start(end); ++c)
            std::memcpy(s.a + (c - begin) * a_stride<T>, x + c * ldx, static_cast<std::size_t>(depth) * sizeof(T));
        for (std::int64_t j = 0; j < width; j += outer_width<T>) {
            for (std::int64_t t = g; t < end; ++t) {
                const std::int64_t first = start(t);
                const int rows = static_cast<int>(start(t + 1) - first);
                const Outer<T> kernel = outer_of<T>(rows, std::make_integer_sequence<int, outer_rows>{});
                const T* a = s.a + (first - begin) * a_stride<T>;
                T* target = out + first * ldo + j;
                for (int r = 0; r < rows; ++r) {
                    __builtin_prefetch(target + r * ldo, 1);
                    __builtin_prefetch(target + r * ldo + outer_width<T> - 1, 1);
                }
                if (j + outer_width<T> <= width) {
                    kernel(depth, a, s.panel + j, panel_stride<T>, target, ldo, add);
                    continue;
                }
                kernel(depth, a, s.panel + j, panel_stride<T>, s.edge, outer_width<T>, false);
                for (int r = 0; r < rows; ++r)
                    for (std::int64_t i = 0; i < width - j; ++i) {
                        T& value = target[r * ldo + i];
                        value = add ? value + s.edge[r * outer_width<T> + i] : s.edge[r * outer_width<T> + i];
                    }
            }
        }
    }
}

template <class T>
void apply_many(const Product<T>& p, Range outputs, Range columns, Scratch<T>& s) {
    const Weights& w = p.w;
    for (std::int64_t n = outputs.begin; n < outputs.end; n += panel_width<T>) {
        const std::int64_t width = least(panel_width<T>, outputs.end - n), padded = round_up(width, outer_width<T>);
        for (std::int64_t k = 0; k < w.cols; k += outer_depth) {
            const int depth = static_cast<int>(least(outer_depth, w.cols - k));
            const std::int64_t next = least(outer_depth, w.cols - k - depth) / w.format->block * w.format->block_bytes;
            for (std::int64_t j = 0; j < padded; j += L) {
                for (int r = 0; r < L; ++r) {
                    if (j + r < width) {
                        prefetch(packed(w, n + j + r, k + depth), next);
                        expand(w, n + j + r, k, depth, round_up(depth, 4), nullptr, s.decoded[r]);
                    } else {
                        std::memset(s.decoded[r], 0, outer_depth * sizeof(float));
                    }
                }
                transpose(depth, s.decoded[0], decoded_stride, s.panel + j, panel_stride<T>);
            }
            multiply_panel(s, depth, width, p.x + k, p.ldx, columns, p.out + n, w.rows, k > 0);
        }
    }
}

template <class T>
void adjoint_many(const Product<T>& p, Range outputs, Range columns, Scratch<T>& s) {
    const Weights& w = p.w;
    for (std::int64_t n = outputs.begin; n < outputs.end; n += panel_width<T>) {
        const std::int64_t width = least(panel_width<T>, outputs.end - n), padded = round_up(width, outer_width<T>);
        const std::int64_t bytes = width / w.format->block * w.format->block_bytes;
        for (std::int64_t k = 0; k < w.rows; k += outer_depth) {
            const int depth = static_cast<int>(least(outer_depth, w.rows - k));
            for (int r = 0; r < depth; ++r) {
                if (k + r + 16 < w.rows) prefetch(packed(w, k + r + 16, n), bytes);
                expand(w, k + r, n, width, padded, s.decoded[0], s.panel + r * panel_stride<T>);
            }
            multiply_panel(s, depth, width, p.x + k, p.ldx, columns, p.out + n, w.cols, k > 0);
        }
    }
}

// ---- few columns, apply

template <class T>
using Dot = void (*)(std::int64_t, const T*, std::int64_t, const T*, std::int64_t, T*, std::int64_t);

template <class T, int R, int... c>
constexpr Dot<T> dot_of(int columns, std::integer_sequence<int, c...>) {
    constexpr Dot<T> table[] = {&dot<T, R, c + 1>...};
    return table[columns - 1];
}

template <class T, int... r>
constexpr Dot<T> dot_of(int rows, int columns, std::integer_sequence<int, r...>) {
    constexpr Dot<T> (*table[])(int, std::make_integer_sequence<int, dot_columns>) = {&dot_of<T, r + 1>...};
    return table[rows - 1](columns, {});
}

template <class T>
void apply_few(const Product<T>& p, Range outputs, Range columns, Scratch<T>& s) {
    const Weights& w = p.w;
    constexpr int lanes = lanes_of<T>;
    constexpr std::int64_t size = sizeof(T);
    constexpr std::int64_t chunk = dot_depth * 4 / size;
    // While x stays in the second-level cache, the fewest rows at a time; else enough to pay for reading it again.
    const std::int64_t tile = p.m * w.cols * size <= 128 * 1024 ? dot_rows : dot_tile;
    const std::int64_t m = columns.size(), groups = (m + dot_columns - 1) / dot_columns;
    for (std::int64_t begin = outputs.begin; begin < outputs.end; begin += tile) {
        const std::int64_t end = least(outputs.end, begin + tile);
        std::memset(s.sums, 0, static_cast<std::size_t>((end - begin) * m * lanes * size));
        for (std::int64_t k = 0; k < w.cols; k += chunk) {
            const std::int64_t depth = least(chunk, w.cols - k), whole = depth / lanes * lanes;
            if (whole < depth)
                for (std::int64_t c = 0; c < m; ++c)
                    for (std::int64_t i = 0; i < lanes; ++i)
                        s.tail[c * lanes + i] =
                            whole + i < depth ? p.x[(columns.begin + c) * p.ldx + k + whole + i] : 0;
            const std::int64_t next = least(chunk, w.cols - k - depth) / w.format->block * w.format->block_bytes;
            for (std::int64_t r = begin; r < end; r += dot_rows) {
                const int rows = static_cast<int>(least(dot_rows, end - r));
                for (int i = 0; i < rows; ++i) {
                    prefetch(packed(w, r + i, k + depth), next);
                    expand(w, r + i, k, depth, round_up(depth, lanes), s.decoded[0], s.widened[i]);
                }
                for (std::int64_t g = 0; g < groups; ++g) {
                    const std::int64_t first = m * g / groups, last = m * (g + 1) / groups;
                    const Dot<T> kernel =
                        dot_of<T>(rows, static_cast<int>(last - first), std::make_integer_sequence<int, dot_rows>{});
                    const T* x = p.x + (columns.begin + first) * p.ldx + k;
                    T* sums = s.sums + ((r - begin) * m + first) * lanes;
                    kernel(whole, s.widened[0], decoded_stride, x, p.ldx, sums, m);
                    if (whole < depth)
                        kernel(lanes, s.widened[0] + whole, decoded_stride, s.tail + first * lanes, lanes, sums, m);
                }
            }
        }
        for (std::int64_t r = begin; r < end; ++r)
            for (std::int64_t c = 0; c < m; ++c)
                p.out[(columns.begin + c) * w.rows + r] = sum_lanes<lanes>(s.sums + ((r - begin) * m + c) * lanes);
    }
}

// ---- one or two columns

template <class T>
void apply_fused(const Product<T>& p, Range outputs, Range columns) {
    const Weights& w = p.w;
    for (std::int64_t r = outputs.begin; r < outputs.end; ++r) {
        T sums[2 * L] = {};
        const std::int64_t m = columns.size();
        const T* x = p.x + columns.begin * p.ldx;
        for (std::int64_t k = 0; k < w.cols; k += fused_run)
            fused_of<T>(*w.format).dot[m - 1](packed(w, r, k), least(fused_run, w.cols - k), w.grid, x + k, p.ldx,
                                              sums);
        for (std::int64_t c = 0; c < m; ++c) p.out[(columns.begin + c) * w.rows + r] = sum_lanes<L>(sums + c * L);
    }
}

template <class T>
void adjoint_fused(const Product<T>& p, Range outputs, Scratch<T>& s) {
    const Weights& w = p.w;
    for (std::int64_t n = outputs.begin; n < outputs.end; n += group_width) {
        const std::int64_t width = least(group_width, outputs.end - n);
        const std::int64_t bytes = width / w.format->block * w.format->block_bytes;
        T* out = p.out + n;
        std::memset(out, 0, static_cast<std::size_t>(width) * sizeof(T));
        for (std::int64_t group = 0; group < w.rows; group += group_rows) {
            std::memset(s.group, 0, static_cast<std::size_t>(width) * sizeof(T));
            for (std::int64_t r = group; r < least(group + group_rows, w.rows); ++r) {
                if (r + 8 < w.rows) prefetch(packed(w, r + 8, n), bytes);
                fused_of<T>(*w.format).axpy(packed(w, r, n), width, w.grid, p.x[r], s.group);
            }
            for (std::int64_t i = 0; i < width; ++i) out[i] += s.group[i];
        }
    }
}

// ---- the table's entries

template <class T>
void apply_part(const Product<T>& p, Range outputs, Range columns, void* scratch) {
    Scratch<T>& s = *static_cast<Scratch<T>*>(scratch);
    if (p.m <= 2 && p.w.cols % L == 0)
        apply_fused(p, outputs, columns);
    else if (p.m <= few_columns)
        apply_few(p, outputs, columns, s);
    else
        apply_many(p, outputs, columns, s);
}

template <class T>
void adjoint_part(const Product<T>& p, Range outputs, Range columns, void* scratch) {
    Scratch<T>& s = *static_cast<Scratch<T>*>(scratch);
    if (p.m == 1 && p.w.cols % L == 0)
        adjoint_fused(p, outputs, s);
    else
        adjoint_many(p, outputs, columns, s);
}

template <class T>
double peak(std::int64_t rounds) {
    typedef typename VectorOf<T>::V V;
    constexpr int chains = 12;
    V sum[chains], factor = V{} + static_cast<T>(0.5);
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) sum[i] = V{} + static_cast<T>(i);
    for (std::int64_t k = 0; k < rounds; ++k) {
        asm volatile("" : "+m"(factor));  // or the loop would be computed once
        const V a = factor;
#pragma GCC unroll 12
        for (int i = 0; i < chains; ++i) sum[i] = fma(sum[i], a, a);
    }
    volatile T sink = 0;
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) sink = sink + sum[i][0];
    return 2.0 * chains * lanes_of<T> * static_cast<double>(rounds);
}

static constexpr Kernels kernels(const char* isa) {
    return {isa,
            &find_format,
            &apply_part<float>,
            &adjoint_part<float>,
            &apply_part<double>,
            &adjoint_part<double>,
            sizeof(Scratch<float>) > sizeof(Scratch<double>) ? sizeof(Scratch<float>) : sizeof(Scratch<double>),
            &peak<float>,
            &peak<double>};
}

}  // namespace ggufjac::GGUFJAC_ISA
