#include "dispatch.hpp"

namespace ggufjac {
namespace {

#if defined(__x86_64__) || defined(__i386__)
bool has_avx512() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
// __builtin_cpu_supports knows no name for F16C in GCC 10; every processor with AVX2 has it.
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#else
bool has_avx512() { return false; }
bool has_avx2() { return false; }
#endif

}  // namespace

const std::vector<const Kernels*>& runnable_kernels() {
    static const std::vector<const Kernels*> list = [] {
        std::vector<const Kernels*> found;
        if (const Kernels* k = kernels_avx512(); k && has_avx512()) found.push_back(k);
        if (const Kernels* k = kernels_avx2(); k && has_avx2()) found.push_back(k);
        found.push_back(kernels_portable());
        return found;
    }();
    return list;
}

const Kernels* find_kernels(std::string_view isa) {
    for (const Kernels* k : runnable_kernels())
        if (isa.empty() || isa == k->isa) return k;
    return nullptr;
}

std::vector<const char*> compiled_isas() {
    std::vector<const char*> names;
    for (const Kernels* k : {kernels_avx512(), kernels_avx2(), kernels_portable()})
        if (k) names.push_back(k->isa);
    return names;
}

}  // namespace ggufjac
