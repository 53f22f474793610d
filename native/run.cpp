#include "run.hpp"

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <algorithm>
#include <chrono>
#include <memory>
#include <new>
#include <numeric>
#include <vector>

#include "pool.hpp"

namespace ggufjac {
namespace {

// Memory of one thread for the kernels, kept from call to call. A panel has more rows than the processor remembers
// small pages, so where the system has large ones it gets those.
void* scratch(std::size_t bytes) {
#ifdef MADV_HUGEPAGE
    constexpr std::size_t page = 2 << 20;
#else
    constexpr std::size_t page = 64;
#endif
    struct Free {
        void operator()(void* p) const { ::operator delete(p, std::align_val_t{page}); }
    };
    thread_local std::unique_ptr<void, Free> memory;
    thread_local std::size_t size = 0;
    if (size < bytes) {
        const std::size_t whole = (bytes + page - 1) / page * page;
        memory.reset(::operator new(whole, std::align_val_t{page}));
#ifdef MADV_HUGEPAGE
        madvise(memory.get(), whole, MADV_HUGEPAGE);  // a wish: without it the products are right and a little slower
#endif
        size = bytes;
    }
    return memory.get();
}

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

std::int64_t round_up(std::int64_t a, std::int64_t b) { return divide_up(a, b) * b; }

// The rectangles, `height` rows by `width` columns, into which an output [m, outer] is cut. Cutting across is free;
// cutting down makes every part expand the same weights again, so it happens only when there are threads to spare and
// rows enough to pay for it.
struct Cut {
    std::int64_t width, height;
};

template <class T>
Cut cut_output(const Product<T>& p, bool adjoint, int threads) {
    constexpr std::int64_t widest = 512, least_work = 1 << 20, least_height = 128;
    const std::int64_t outer = adjoint ? p.w.cols : p.w.rows;
    // A part of the adjoint must begin with a block; 32 columns are what one call of an inner loop computes.
    const std::int64_t granule = adjoint ? std::max(32, p.w.format->block) : 32;
    const std::int64_t work = p.w.rows * p.w.cols * (8 + p.m);  // expanding a weight costs about eight multiplications
    const std::int64_t useful = std::clamp<std::int64_t>(work / least_work, 1, threads);
    if (useful == 1) return {round_up(outer, granule), p.m};
    // Whole granules, no wider than `widest` if that can be, and cut so that the thread with most to do has the least.
    const std::int64_t granules = divide_up(outer, granule);
    std::int64_t best = granules, least_load = granules;
    for (std::int64_t rounds = divide_up(divide_up(outer, widest), useful); rounds > 0; --rounds) {
        const std::int64_t each = divide_up(granules, rounds * useful);
        const std::int64_t load = divide_up(divide_up(granules, each), useful) * each;
        if (load < least_load) {
            least_load = load;
            best = each;
        }
    }
    const std::int64_t width = best * granule;
    const std::int64_t down =
        std::clamp<std::int64_t>(useful / divide_up(outer, width), 1, divide_up(p.m, least_height));
    return {width, divide_up(p.m, down)};
}

}  // namespace

void run_dequantize(const Weights& w, float* out, int threads) {
    if (w.rows == 0 || w.cols == 0) return;
    // Tasks of at least 64 Ki weights, so that a small tensor does not wake anybody.
    const std::int64_t step = std::max<std::int64_t>(1, (1 << 16) / w.cols);
    parallel_for(divide_up(w.rows, step), threads, [&](std::int64_t task) {
        for (std::int64_t r = task * step; r < std::min(w.rows, (task + 1) * step); ++r)
            w.format->decode(w.data + r * w.row_bytes, w.cols, w.grid, out + r * w.cols);
    });
}

template <class T>
void run_product(const Kernels& kernels, const Product<T>& p, bool adjoint, int threads) {
    const std::int64_t outer = adjoint ? p.w.cols : p.w.rows, inner = adjoint ? p.w.rows : p.w.cols;
    if (p.m == 0 || outer == 0) return;
    if (inner == 0) {
        std::fill_n(p.out, p.m * outer, T{0});
        return;
    }
    ProductPart<T> part;
    if constexpr (sizeof(T) == sizeof(float))
        part = adjoint ? kernels.adjoint_f32 : kernels.apply_f32;
    else
        part = adjoint ? kernels.adjoint_f64 : kernels.apply_f64;
    const Cut cut = cut_output(p, adjoint, threads);
    const std::int64_t across = divide_up(outer, cut.width), down = divide_up(p.m, cut.height);
    parallel_for(across * down, threads, [&](std::int64_t task) {
        const std::int64_t j = task % across * cut.width, i = task / across * cut.height;
        part(p, {j, std::min(outer, j + cut.width)}, {i, std::min(p.m, i + cut.height)},
             scratch(kernels.scratch_bytes));
    });
}

double run_peak(const Kernels& kernels, bool wide, int threads, double seconds) {
    using Clock = std::chrono::steady_clock;
    const auto kernel = wide ? kernels.peak_f64 : kernels.peak_f32;
    const auto begin = Clock::now();
    const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - begin).count(); };
    std::vector<double> operations(static_cast<std::size_t>(threads), 0.0);
    parallel_for(threads, threads, [&](std::int64_t task) {
        while (elapsed() < seconds) operations[static_cast<std::size_t>(task)] += kernel(100'000);
    });
    return std::accumulate(operations.begin(), operations.end(), 0.0) / elapsed();
}

template void run_product<float>(const Kernels&, const Product<float>&, bool, int);
template void run_product<double>(const Kernels&, const Product<double>&, bool, int);

}  // namespace ggufjac
