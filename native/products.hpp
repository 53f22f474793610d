// Products of blocks with packed weights.
//
// Which of these loops runs depends on the product alone, not on the threads:
//   * adjoint: a panel of weights (256 along the summed dimension, some hundred across) is expanded once into the
//     second-level cache and multiplied with all columns in hand by `outer`.
//   * apply: the columns in hand are transposed and become the panel; expanded rows of weights are what meets it, and
//     the result comes out transposed.
//   * up to `fused_columns` columns, apply, and one, adjoint: weights are multiplied in the registers in which they
//     appear.
// Sums run in blocks along the summed dimension, in the same order for every element of the result.
#pragma once

#include "decode.hpp"
#include "micro.hpp"

namespace ggufjac::GGUFJAC_ISA {

// Columns of the widest panel: a multiple of every block, because panels of the adjoint are cut along the blocks.
template <class T>
constexpr int panel_width = L == 16 && sizeof(T) == sizeof(float) ? 512 : 256;
// Rows of a panel are an odd number of cache lines apart, so that they fall into different cache sets.
template <class T>
constexpr int panel_stride = panel_width<T> + 64 / static_cast<int>(sizeof(T));

// The adjoint of one column sums `group_rows` rows in a buffer of `group_width` columns before it adds to the output:
// rounding errors grow with the length of a sum.
constexpr std::int64_t group_rows = 128, group_width = 1024;
// `apply` of a few columns sums so many weights in registers.
constexpr std::int64_t fused_run = 2048;

// Columns that meet a panel together: whole tiles, few enough to stay in the second-level cache beside it.
constexpr std::int64_t group_columns = 8 * outer_rows;

// `apply` has so many columns and outputs in hand: they stay in the second-level cache beside the panel.
constexpr std::int64_t turned_columns = L == 16 ? 256 : 128, turned_rows = 512;
template <class T>
constexpr int turned_stride = turned_columns + 64 / static_cast<int>(sizeof(T));

template <class T>
struct alignas(64) Scratch {
    float decoded[L][outer_depth + 16];  // an odd number of cache lines apart
    float narrow[panel_width<T>];        // expanded weights before they are widened
    T panel[outer_depth * panel_stride<T>];
    T a[group_columns * a_stride<T>];
    T edge[outer_rows * outer_width<T>];
    T group[group_width];
    T turned[turned_rows * turned_stride<T>];
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

// ---- the adjoint of many columns

template <class T>
using Outer = void (*)(int, const T*, const T*, std::int64_t, T*, std::int64_t, bool);

template <class T, int vectors, int... r>
constexpr Outer<T> outer_of(int rows, std::integer_sequence<int, r...>) {
    constexpr Outer<T> table[] = {&outer<T, r + 1, vectors>...};
    return table[rows - 1];
}

template <class T, int vectors>
constexpr Outer<T> outer_of(std::int64_t rows) {
    return outer_of<T, vectors>(static_cast<int>(rows), std::make_integer_sequence<int, rows_of<vectors>>{});
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
                const std::int64_t rows = start(t + 1) - first;
                const Outer<T> kernel = outer_of<T, outer_vectors>(rows);
                const T* a = s.a + (first - begin) * a_stride<T>;
                T* target = out + first * ldo + j;
                for (std::int64_t r = 0; r < rows; ++r) {
                    __builtin_prefetch(target + r * ldo, 1);
                    __builtin_prefetch(target + r * ldo + outer_width<T> - 1, 1);
                }
                if (j + outer_width<T> <= width) {
                    kernel(depth, a, s.panel + j, panel_stride<T>, target, ldo, add);
                    continue;
                }
                kernel(depth, a, s.panel + j, panel_stride<T>, s.edge, outer_width<T>, false);
                for (std::int64_t r = 0; r < rows; ++r)
                    for (std::int64_t i = 0; i < width - j; ++i) {
                        T& value = target[r * ldo + i];
                        value = add ? value + s.edge[r * outer_width<T> + i] : s.edge[r * outer_width<T> + i];
                    }
            }
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
                expand(w, k + r, n, width, padded, s.narrow, s.panel + r * panel_stride<T>);
            }
            multiply_panel(s, depth, width, p.x + k, p.ldx, columns, p.out + n, w.cols, k > 0);
        }
    }
}

// ---- apply

// panel[k][c] = x[c][k] for k < depth and c < padded, 0 for the columns that are not there.
template <class T>
void turn_columns(Scratch<T>& s, int depth, const T* x, std::int64_t ldx, std::int64_t m, std::int64_t padded) {
    if constexpr (sizeof(T) == sizeof(float)) {
        for (std::int64_t c = 0; c < padded; c += L) {
            if (c + L <= m && depth % 4 == 0) {
                transpose(depth, x + c * ldx, ldx, s.panel + c, panel_stride<T>);
                continue;
            }
            std::memset(s.decoded, 0, sizeof(s.decoded));
            for (std::int64_t r = 0; r < least(L, m - c); ++r)
                std::memcpy(s.decoded[r], x + (c + r) * ldx, static_cast<std::size_t>(depth) * sizeof(float));
            transpose(depth, s.decoded[0], outer_depth + 16, s.panel + c, panel_stride<T>);
        }
    } else {
        for (int k = 0; k < depth; ++k)
            for (std::int64_t c = 0; c < padded; ++c) s.panel[k * panel_stride<T> + c] = c < m ? x[c * ldx + k] : 0;
    }
}

// out[c][r] = turned[r][c] for r < height and c < m.
template <class T>
void turn_back(const Scratch<T>& s, std::int64_t height, std::int64_t m, T* out, std::int64_t ldo) {
    std::int64_t rows = 0, whole = 0;
    if constexpr (sizeof(T) == sizeof(float)) {
        rows = height / L * L, whole = m / 4 * 4;
        for (std::int64_t r = 0; r < rows; r += L)
            transpose(static_cast<int>(whole), s.turned + r * turned_stride<T>, turned_stride<T>, out + r, ldo);
    }
    for (std::int64_t c = 0; c < m; ++c)
        for (std::int64_t r = c < whole ? rows : 0; r < height; ++r)
            out[c * ldo + r] = s.turned[r * turned_stride<T> + c];
}

// turned[r][j ..) (+)= expanded rows @ panel[..][j ..), as wide as so many vectors.
template <class T, int vectors>
void multiply_rows(Scratch<T>& s, int depth, std::int64_t begin, std::int64_t rows, std::int64_t j, bool add) {
    const std::int64_t tiles = (rows + rows_of<vectors> - 1) / rows_of<vectors>;
    for (std::int64_t t = 0; t < tiles; ++t) {
        const std::int64_t first = rows * t / tiles, here = rows * (t + 1) / tiles - first;
        outer_of<T, vectors>(here)(depth, s.a + first * a_stride<T>, s.panel + j, panel_stride<T>,
                                   s.turned + (begin + first) * turned_stride<T> + j, turned_stride<T>, add);
    }
}

template <class T>
void apply_turned(const Product<T>& p, Range outputs, Range columns, Scratch<T>& s) {
    const Weights& w = p.w;
    constexpr std::int64_t lanes = lanes_of<T>;
    const std::int64_t parts = (columns.size() + turned_columns - 1) / turned_columns;
    const std::int64_t step = round_up((columns.size() + parts - 1) / parts, outer_width<T>);
    for (std::int64_t n = outputs.begin; n < outputs.end; n += turned_rows) {
        const std::int64_t height = least(turned_rows, outputs.end - n);
        for (std::int64_t c = columns.begin; c < columns.end; c += step) {
            const std::int64_t m = least(step, columns.end - c), padded = round_up(m, lanes);
            for (std::int64_t k = 0; k < w.cols; k += outer_depth) {
                const int depth = static_cast<int>(least(outer_depth, w.cols - k));
                const std::int64_t bytes = depth / w.format->block * w.format->block_bytes;
                turn_columns(s, depth, p.x + c * p.ldx + k, p.ldx, m, padded);
                for (std::int64_t g = 0; g < height; g += group_columns) {
                    const std::int64_t rows = least(group_columns, height - g);
                    for (std::int64_t r = g; r < g + rows; ++r) {
                        if (r + group_columns < height) prefetch(packed(w, n + r + group_columns, k), bytes);
                        expand(w, n + r, k, depth, depth, s.narrow, s.a + (r - g) * a_stride<T>);
                    }
                    std::int64_t j = 0;
                    for (; j + outer_width<T> <= padded; j += outer_width<T>)
                        multiply_rows<T, outer_vectors>(s, depth, g, rows, j, k > 0);
                    if (j < padded) multiply_rows<T, 1>(s, depth, g, rows, j, k > 0);
                }
            }
            turn_back(s, height, m, p.out + c * w.rows + n, w.rows);
        }
    }
}

// ---- one column, or a few

template <class T>
void apply_fused(const Product<T>& p, Range outputs, Range columns) {
    const Weights& w = p.w;
    for (std::int64_t r = outputs.begin; r < outputs.end; ++r) {
        T sums[fused_columns * L] = {};
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
    if (p.m <= fused_columns && p.w.cols % L == 0)
        apply_fused(p, outputs, columns);
    else
        apply_turned(p, outputs, columns, s);
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
