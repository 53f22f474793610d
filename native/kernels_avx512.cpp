#include "kernels.hpp"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define GGUFJAC_ISA avx512
#define GGUFJAC_LANES 16

#include "products.hpp"

namespace ggufjac {

const Kernels* kernels_avx512() {
    static constexpr Kernels table = avx512::kernels("avx512");
    return &table;
}

}  // namespace ggufjac
#else
namespace ggufjac {

const Kernels* kernels_avx512() { return nullptr; }

}  // namespace ggufjac
#endif
