// Sums over the threads of a warp and of a block, in an order that never changes.
#pragma once

#include "launch.cuh"

namespace moda::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;

__device__ __forceinline__ int lane_index() { return static_cast<int>(threadIdx.x) % kWarp; }
__device__ __forceinline__ int warp_index() { return static_cast<int>(threadIdx.x) / kWarp; }

// All lanes get the sum over their group of `lanes`, a power of two.
template <class T>
__device__ __forceinline__ T warp_sum(T value, int lanes = kWarp) {
  for (int step = lanes / 2; step > 0; step /= 2)
    value += __shfl_xor_sync(kAllLanes, value, step);
  return value;
}

// All threads get the result of `combine` over one value of each warp.
template <class T, class Combine>
__device__ __forceinline__ T combine_warps(T value, const Combine& combine) {
  __shared__ T parts[kWarps];
  __syncthreads();  // the parts of the last call may still be being read
  if (lane_index() == 0) parts[warp_index()] = value;
  __syncthreads();
  T result = parts[0];
  for (int warp = 1; warp < kWarps; ++warp) result = combine(result, parts[warp]);
  return result;
}

template <class T>
__device__ __forceinline__ T block_sum(T value) {
  return combine_warps(warp_sum(value), [](T a, T b) { return a + b; });
}

// Rows of many units take a block, others a warp; all threads of the row get the sum.
template <class T>
__device__ __forceinline__ T row_sum(T value, bool by_block) {
  return by_block ? block_sum(value) : warp_sum(value);
}

// The largest of values that are not NaN, as a NaN never compares greater.
__device__ __forceinline__ double row_peak(double value, bool by_block) {
  const auto larger = [](double a, double b) { return b > a ? b : a; };
  for (int step = kWarp / 2; step > 0; step /= 2)
    value = larger(value, __shfl_xor_sync(kAllLanes, value, step));
  return by_block ? combine_warps(value, larger) : value;
}

}  // namespace moda::cuda
