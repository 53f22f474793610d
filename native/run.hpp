// Cutting a call into tasks for the pool.
#pragma once

#include "kernels.hpp"

namespace ggufjac {

void run_dequantize(const Weights& w, float* out, int threads);

template <class T>
void run_product(const Kernels& kernels, const Product<T>& p, bool adjoint, int threads);

extern template void run_product<float>(const Kernels&, const Product<float>&, bool, int);
extern template void run_product<double>(const Kernels&, const Product<double>&, bool, int);

}  // namespace ggufjac
