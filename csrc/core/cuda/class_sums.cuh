// How blocks share sums over classes: a lane has a unit, and each warp every eighth class.
#pragma once

#include "class_order.h"
#include "layout.cuh"
#include "reduce.cuh"

namespace moda::cuda {

struct UnitPlace {
  int32_t unit;
  bool is_unit;

  __device__ __forceinline__ UnitPlace(int32_t units, int32_t block)
      : unit(block * kWarp + lane_index()), is_unit(unit < units) {}
};

inline int64_t unit_block_count(int64_t units) { return divide_up(units, kWarp); }

// Calls body(k) for the classes of this warp.
template <class Body>
__device__ __forceinline__ void for_classes(const ClassOrder& order, const Body& body) {
  const int32_t present = order.terms->present;
  for (int32_t k = warp_index(); k < present; k += kWarps) body(k);
}

// The sum of one unit over the rows of class k.
template <class R>
__device__ __forceinline__ double class_sum(const R* column, int64_t units,
                                            const ClassOrder& order, int32_t k) {
  const int32_t end = order.begins[k + 1];
  double sum = 0;
#pragma unroll 8
  for (int32_t i = order.begins[k]; i < end; ++i) sum += column[order.samples[i] * units];
  return sum;
}

}  // namespace moda::cuda
