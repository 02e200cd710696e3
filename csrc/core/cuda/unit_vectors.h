// Activation vectors divided by their norms.
#pragma once

#include "launch.cuh"

namespace moda::cuda {

// The arrays of one activation.
template <class R>
struct Rows {
  R* normalized;          // (samples, units)
  double* inverse_norms;  // (samples)
  double* l1;             // (samples)
};

// `sums[a]`: what sum_magnitudes() left for activation a, NULL for one of a single position.
template <class R>
void normalize(Launcher& launch, const moda_activation* activations, int64_t count,
               int64_t samples, const void* const* sums, const Rows<R>* rows);

}  // namespace moda::cuda
