// Python bindings: every size is checked here, before a kernel sees a pointer.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

#include "dispatch.hpp"
#include "pool.hpp"
#include "run.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace ggufjac {
namespace {

using Array = nb::ndarray<nb::ro, nb::device::cpu>;
using Writable = nb::ndarray<nb::device::cpu>;

[[noreturn]] void fail(const std::string& message) { throw nb::value_error(message.c_str()); }

template <class A>
std::string shape_of(const A& a) {
    std::string s = "[";
    for (std::size_t i = 0; i < a.ndim(); ++i) s += (i ? ", " : "") + std::to_string(a.shape(i));
    return s + "]";
}

const Kernels& pick(const std::optional<std::string>& isa) {
    if (const Kernels* k = find_kernels(isa.value_or(""))) return *k;
    std::string names;
    for (const Kernels* k : runnable_kernels()) names += std::string(names.empty() ? "" : ", ") + k->isa;
    fail("isa '" + *isa + "' cannot run here; this processor and build offer: " + names);
}

int pick_threads(int threads) {
    if (threads < 0) fail("threads must be 0 (one per processor) or positive, not " + std::to_string(threads));
    return threads == 0 ? available_processors() : threads;
}

// Whether a two-dimensional array has its rows one after the other without gaps. Strides of dimensions of length 1 (and
// all strides of an empty array) mean nothing.
template <class A>
bool contiguous(const A& a) {
    if (a.shape(0) == 0 || a.shape(1) == 0) return true;
    if (a.shape(1) > 1 && a.stride(1) != 1) return false;
    return a.shape(0) == 1 || a.stride(0) == static_cast<std::int64_t>(a.shape(1));
}

Weights weights(const Kernels& kernels, int type, const Array& data, const std::optional<Array>& grid) {
    const Format* format = kernels.format(type);
    if (!format) fail("ggml type " + std::to_string(type) + " holds no weights that this build can expand");
    if (data.dtype() != nb::dtype<std::uint8_t>() || data.ndim() != 2 || !contiguous(data))
        fail("data must be a C-contiguous uint8 array [rows, row_bytes], not " + shape_of(data));
    const auto rows = static_cast<std::int64_t>(data.shape(0)), row_bytes = static_cast<std::int64_t>(data.shape(1));
    if (row_bytes % format->block_bytes)
        fail("rows of " + std::to_string(row_bytes) + " bytes are no whole number of " +
             std::to_string(format->block_bytes) + "-byte blocks of ggml type " + std::to_string(type));
    Weights w{format,    static_cast<const std::uint8_t*>(data.data()),
              rows,      row_bytes / format->block_bytes * format->block,
              row_bytes, nullptr};
    if (format->grid_size) {
        if (!grid || grid->dtype() != nb::dtype<std::int8_t>() || grid->ndim() != 1 ||
            grid->shape(0) != static_cast<std::size_t>(format->grid_size) || grid->stride(0) != 1)
            fail("ggml type " + std::to_string(type) + " needs its codebook: grid must be an int8 array of " +
                 std::to_string(format->grid_size) + " contiguous values");
        w.grid = static_cast<const std::int8_t*>(grid->data());
    }
    return w;
}

// The bytes from the first to the last element of a two-dimensional array.
struct Extent {
    const char *begin, *end;
    template <class A>
    static Extent of(const A& a) {
        const char* p = static_cast<const char*>(a.data());
        if (a.shape(0) == 0 || a.shape(1) == 0) return {p, p};
        const std::int64_t last = static_cast<std::int64_t>(a.shape(0) - 1) * a.stride(0) +
                                  static_cast<std::int64_t>(a.shape(1) - 1) * a.stride(1);
        return {p, p + (last + 1) * static_cast<std::int64_t>(a.itemsize())};
    }
    bool overlaps(const Extent& o) const { return begin < o.end && o.begin < end; }
};

template <class T>
void check_output(const Writable& out, std::int64_t rows, std::int64_t cols) {
    if (out.dtype() != nb::dtype<T>() || out.ndim() != 2 || static_cast<std::int64_t>(out.shape(0)) != rows ||
        static_cast<std::int64_t>(out.shape(1)) != cols || !contiguous(out))
        fail("out must be a C-contiguous float" + std::to_string(8 * sizeof(T)) + " array [" + std::to_string(rows) +
             ", " + std::to_string(cols) + "], not " + shape_of(out));
    if (reinterpret_cast<std::uintptr_t>(out.data()) % alignof(T)) fail("out is not aligned to its element type");
}

void dequantize(int type, const Array& data, const Writable& out, const std::optional<Array>& grid, int threads,
                const std::optional<std::string>& isa) {
    const Kernels& kernels = pick(isa);
    const Weights w = weights(kernels, type, data, grid);
    check_output<float>(out, w.rows, w.cols);
    if (Extent::of(out).overlaps(Extent::of(data))) fail("out overlaps data");
    const int n = pick_threads(threads);
    auto* target = static_cast<float*>(out.data());
    nb::gil_scoped_release release;
    run_dequantize(w, target, n);
}

template <class T>
void product(const Kernels& kernels, bool adjoint, const Weights& w, const Array& data, const Array& x,
             const Writable& out, int threads) {
    const std::int64_t inner = adjoint ? w.rows : w.cols, outer = adjoint ? w.cols : w.rows;
    const std::string name = adjoint ? "g" : "x";
    if (x.ndim() != 2 || static_cast<std::int64_t>(x.shape(1)) != inner)
        fail(name + " must be an array [m, " + std::to_string(inner) + "], not " + shape_of(x));
    const auto m = static_cast<std::int64_t>(x.shape(0));
    const bool empty = m == 0 || inner == 0;
    if (!empty && inner > 1 && x.stride(1) != 1) fail("the last dimension of " + name + " must be contiguous");
    const std::int64_t ldx = m > 1 ? x.stride(0) : inner;
    if (!empty && ldx < inner) fail("the rows of " + name + " overlap or run backwards");
    if (reinterpret_cast<std::uintptr_t>(x.data()) % alignof(T)) fail(name + " is not aligned to its element type");
    check_output<T>(out, m, outer);
    if (Extent::of(out).overlaps(Extent::of(data))) fail("out overlaps data");
    if (Extent::of(out).overlaps(Extent::of(x))) fail("out overlaps " + name);
    const int n = pick_threads(threads);
    const Product<T> p{w, static_cast<const T*>(x.data()), ldx, m, static_cast<T*>(out.data())};
    nb::gil_scoped_release release;
    run_product(kernels, p, adjoint, n);
}

void any_product(bool adjoint, int type, const Array& data, const Array& x, const Writable& out,
                 const std::optional<Array>& grid, int threads, const std::optional<std::string>& isa) {
    const Kernels& kernels = pick(isa);
    const Weights w = weights(kernels, type, data, grid);
    if (x.dtype() == nb::dtype<float>())
        product<float>(kernels, adjoint, w, data, x, out, threads);
    else if (x.dtype() == nb::dtype<double>())
        product<double>(kernels, adjoint, w, data, x, out, threads);
    else
        fail(std::string(adjoint ? "g" : "x") + " must be float32 or float64");
}

double fma_peak(bool wide, int threads, double seconds, const std::optional<std::string>& isa) {
    const Kernels& kernels = pick(isa);
    const int n = pick_threads(threads);
    if (!(seconds > 0 && seconds <= 60)) fail("seconds must be positive and at most 60");
    nb::gil_scoped_release release;
    return run_peak(kernels, wide, n, seconds);
}

nb::dict info() {
    nb::dict d;
    d["isa"] = runnable_kernels().front()->isa;
    d["threads"] = available_processors();
    nb::list compiled, runnable;
    for (const char* name : compiled_isas()) compiled.append(name);
    for (const Kernels* k : runnable_kernels()) runnable.append(k->isa);
    d["compiled"] = compiled;
    d["runnable"] = runnable;
    return d;
}

}  // namespace
}  // namespace ggufjac

NB_MODULE(_native, m) {
    using namespace ggufjac;
    m.doc() = "Expanding GGUF blocks, and products with packed weights.";
    m.def("dequantize", &dequantize, "type"_a, nb::arg("data").noconvert(), nb::arg("out").noconvert(),
          nb::arg("grid").noconvert().none() = nb::none(), "threads"_a = 0, "isa"_a = nb::none(),
          "out = W as float32 [rows, cols], bit for bit what gguf.quants.dequantize gives.");
    m.def(
        "matmul",
        [](int type, const Array& data, const Array& x, const Writable& out, const std::optional<Array>& grid,
           int threads,
           const std::optional<std::string>& isa) { any_product(false, type, data, x, out, grid, threads, isa); },
        "type"_a, nb::arg("data").noconvert(), nb::arg("x").noconvert(), nb::arg("out").noconvert(),
        nb::arg("grid").noconvert().none() = nb::none(), "threads"_a = 0, "isa"_a = nb::none(),
        "out[m, rows] = x[m, cols] @ W.T, all float32 or all float64.");
    m.def(
        "matmul_adjoint",
        [](int type, const Array& data, const Array& g, const Writable& out, const std::optional<Array>& grid,
           int threads,
           const std::optional<std::string>& isa) { any_product(true, type, data, g, out, grid, threads, isa); },
        "type"_a, nb::arg("data").noconvert(), nb::arg("g").noconvert(), nb::arg("out").noconvert(),
        nb::arg("grid").noconvert().none() = nb::none(), "threads"_a = 0, "isa"_a = nb::none(),
        "out[m, cols] = g[m, rows] @ W, all float32 or all float64.");
    m.def("fma_peak", &fma_peak, "wide"_a = false, "threads"_a = 0, "seconds"_a = 0.1, "isa"_a = nb::none(),
          "Operations per second of independent fused multiply-adds in registers (float64 if wide): what products are "
          "measured against.");
    m.def(
        "info", &info,
        "isa: the one chosen; threads: what threads=0 means; compiled: the isas of this build; runnable: those of them "
        "that this processor can run, best first.");
}
