#include "kernels.hpp"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define GGUFJAC_ISA avx2
#define GGUFJAC_LANES 8

#include "products.hpp"

namespace ggufjac {

const Kernels* kernels_avx2() {
    static constexpr Kernels table = avx2::kernels("avx2");
    return &table;
}

}  // namespace ggufjac
#else
namespace ggufjac {

const Kernels* kernels_avx2() { return nullptr; }

}  // namespace ggufjac
#endif
