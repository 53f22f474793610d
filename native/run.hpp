// Cutting a call into tasks for the pool.
#pragma once

#include "kernels.hpp"

namespace ggufjac {

void run_dequantize(const Weights& w, float* out, int threads);

template <class T>
void run_product(const Kernels& kernels, const Product<T>& p, bool adjoint, int threads);

// Fused multiply-adds in registers on all threads at once, for about `seconds`: the rate, in operations per second,
// that no product can exceed.
double run_peak(const Kernels& kernels, bool wide, int threads, double seconds);

extern template void run_product<float>(const Kernels&, const Product<float>&, bool, int);
extern template void run_product<double>(const Kernels&, const Product<double>&, bool, int);

}  // namespace ggufjac
