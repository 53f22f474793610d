// The instruction set that the compiler targets by default: SSE2 on x86-64, NEON on aarch64.
#define GGUFJAC_ISA portable
#define GGUFJAC_LANES 4

#include "products.hpp"

namespace ggufjac {

const Kernels* kernels_portable() {
    static constexpr Kernels table = portable::kernels("portable");
    return &table;
}

}  // namespace ggufjac
