// The loops over elements, compiled once for every instruction set and chosen at run time.
#pragma once

#include <cstdint>

#include "moda_core.h"

namespace moda {

// R is the type that a call computes in, float or double. Rows are those of a (samples, units)
// array of one activation.
template <class R>
struct Kernels {
  // For samples [first, last): the activation vector (mean magnitude of each unit over positions)
  // divided by its norm, the inverse norm, the L1 norm. `scratch`: units reals.
  void (*normalize)(const moda_activation& activation, int64_t first, int64_t last, R* normalized,
                    double* inverse_norms, double* l1, R* scratch);

  // sums[j] = sum of rows[sample][j] over these samples, for j in [begin, end).
  void (*sum_rows)(const R* rows, int64_t units, const int64_t* samples, int64_t count,
                   int64_t begin, int64_t end, double* sums);

  // The gradient of one position from `direction`, that of the normalised vector, and `l1`, that
  // of the L1 norm.
  void (*vector_gradient)(const R* normalized, const R* direction, int64_t units,
                          double inverse_norm, double l1, int64_t positions, R* gradient);

  // Writes vectors times the sign of the elements to all positions of samples [first, last).
  void (*write_gradient)(const moda_activation& activation, const moda_activation& gradient,
                         const R* vectors, int64_t first, int64_t last);
};

struct ActivityKernels {
  // active[sample][unit] = whether a magnitude exceeds epsilon at any position; returns the number
  // of (sample, unit) with a NaN or an infinity. `scratch`: units * 8 bytes.
  int64_t (*find_active)(const moda_activation& activation, double epsilon, int64_t first,
                         int64_t last, uint8_t* active, void* scratch);
  // counts[j] += active[j]
  void (*add_active)(const uint8_t* active, int64_t units, int32_t* counts);
};

template <class R>
const Kernels<R>& kernels();
const ActivityKernels& activity_kernels();

// One of these for every instruction set that the build has.
#define MODA_DECLARE_KERNELS(ISA)              \
  namespace ISA {                              \
  extern const Kernels<float> float_kernels;   \
  extern const Kernels<double> double_kernels; \
  extern const ActivityKernels activity;       \
  }
MODA_DECLARE_KERNELS(baseline)
MODA_DECLARE_KERNELS(avx2)
MODA_DECLARE_KERNELS(avx512)

inline int64_t position_count(const moda_activation& activation) {
  return activation.positions[0] * activation.positions[1] * activation.positions[2];
}

}  // namespace moda
