// The gradient with respect to activation vectors.
#pragma once

#include "launch.cuh"

namespace moda::cuda {

// The arrays of one activation.
template <class R>
struct VectorGradient {
  const R* normalized;          // (samples, units)
  const double* inverse_norms;  // (samples)
  const R* directions;          // (rows, units): the gradient with respect to unit vectors
  const R* l1;                  // (rows): the gradient with respect to L1 norms
  R* vectors;                   // (samples, units)
  int64_t directions_stride;    // from row to row of the directions, in elements
  int64_t l1_stride;
};

// The gradient of one position of each unit, as if no element were negative. Sample i takes row
// row_of[i] of the directions; one that is not in [0, rows) is of no class.
template <class R>
void find_vector_gradients(Launcher& launch, const moda_activation* activations, int64_t count,
                           int64_t samples, const int32_t* row_of, int64_t rows,
                           const VectorGradient<R>* gradients);

}  // namespace moda::cuda
