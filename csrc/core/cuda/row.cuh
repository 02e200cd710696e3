// How the threads of a block share the rows, of one sample each, of an activation.
#pragma once

#include "element.cuh"
#include "layout.cuh"

namespace moda::cuda {

// Rows longer than this take a block, others a warp.
constexpr int64_t kWarpUnits = 1024;

struct RowShare {
  int32_t units;
  int32_t by_block;
  int32_t whole_vectors;  // all arrays of reals can be read in vectors
};

struct RowPlace {
  int64_t sample;
  int32_t thread, threads;

  __device__ __forceinline__ RowPlace(const RowShare& share, int32_t block) {
    sample = share.by_block ? block : int64_t{block} * kWarps + static_cast<int>(threadIdx.x) / kWarp;
    threads = share.by_block ? kBlock : kWarp;
    thread = static_cast<int32_t>(threadIdx.x) % threads;
  }
};

template <class R>
RowShare row_share_of(int64_t units, std::initializer_list<const void*> reals) {
  bool whole = units % kVectorWidth<R> == 0;
  for (const void* address : reals) whole = whole && is_aligned(address);
  return {static_cast<int32_t>(units), units > kWarpUnits, whole};
}

inline int64_t row_block_count(const RowShare& share, int64_t samples) {
  return share.by_block ? samples : divide_up(samples, kWarps);
}

}  // namespace moda::cuda
