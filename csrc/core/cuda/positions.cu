#include "positions.h"

#include "layout.cuh"
#include "reduce.cuh"
#include "table.cuh"

namespace moda::cuda {
namespace {

// More parts than this would cost more to add up than they gain.
constexpr int64_t kMostParts = 32;

struct ReduceEntry {
  Strided array;
  Share share;
  void* output;
  double epsilon;
  int32_t first_block;
};

template <class R>
struct SumOfMagnitudes {
  using Value = R;
  using Output = R;
  using CallReal = R;
  template <class T>
  static constexpr bool has_vectors() {
    return kHasVectors<R, T>;
  }

  __device__ __forceinline__ explicit SumOfMagnitudes(double) {}

  template <class Real>
  __device__ __forceinline__ R add(R sum, Real element) const {
    return sum + static_cast<R>(magnitude(element));
  }
  static __device__ __forceinline__ R combine(R a, R b) { return a + b; }
};

struct Activity {
  using Value = unsigned;
  using Output = uint8_t;
  using CallReal = double;
  template <class T>
  static constexpr bool has_vectors() {
    return true;
  }

  __device__ __forceinline__ explicit Activity(double threshold) : epsilon(threshold) {}

  template <class Real>
  __device__ __forceinline__ unsigned add(unsigned flags, Real element) const {
    const Real size = magnitude(element);
    flags |= size > static_cast<Real>(epsilon) ? kActive : 0u;
    flags |= size > largest<Real>() ? kInfinite : 0u;
    return flags | (size != size ? kNan : 0u);
  }
  static __device__ __forceinline__ unsigned combine(unsigned a, unsigned b) { return a | b; }

  template <class Real>
  static __device__ __forceinline__ Real largest() {
    return sizeof(Real) == sizeof(float) ? static_cast<Real>(3.402823466e38f)
                                         : static_cast<Real>(1.7976931348623157e308);
  }

  const double epsilon;
};

template <class Op>
__device__ __forceinline__ void write(const ReduceEntry& entry, int64_t samples,
                                      const Place& place, int32_t unit,
                                      typename Op::Value value) {
  const int64_t row = place.part * samples + place.sample;
  static_cast<typename Op::Output*>(entry.output)[row * entry.share.units + unit] =
      static_cast<typename Op::Output>(value);
}

// Threads of the same units, one below the other, leave the result in row 0.
template <class Op, int kWidth>
__device__ __forceinline__ void combine_rows(typename Op::Value* values, const Share& share,
                                             const UnitRun<kWidth>& run) {
  __shared__ typename Op::Value shared[kWidth * kBlock];
  const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int w = 0; w < kWidth; ++w) shared[w * kBlock + thread] = values[w];
  int half = 1;
  while (half * 2 < run.step) half *= 2;
  for (int step = run.step > 1 ? half : 0; step > 0; step /= 2) {
    __syncthreads();
    if (!run.is_busy || run.row >= step || run.row + step >= run.step) continue;
#pragma unroll
    for (int w = 0; w < kWidth; ++w) {
      typename Op::Value& mine = shared[w * kBlock + thread];
      mine = Op::combine(mine, shared[w * kBlock + thread + step * share.lanes]);
    }
  }
#pragma unroll
  for (int w = 0; w < kWidth; ++w) values[w] = shared[w * kBlock + thread];
}

template <class Op, class T, int kWidth>
__global__ void __launch_bounds__(kBlock)
    reduce_unit_runs(const __grid_constant__ Table<ReduceEntry> table, int64_t samples) {
  const ReduceEntry& entry = entry_of_block(table);
  const Place place(entry.share, block_of_entry(entry));
  const UnitRun<kWidth> run(entry.share, place);
  const Op op(entry.epsilon);
  typename Op::Value values[kWidth] = {};
  if (run.is_busy) {
    const T* start = start_of<const T>(entry.array, place.sample, run.unit);
#pragma unroll 4
    for (int32_t position = run.first; position < run.last; position += run.step) {
      const auto x =
          load_vector<kWidth>(start + position_offset(entry.share, entry.array, position));
#pragma unroll
      for (int w = 0; w < kWidth; ++w) values[w] = op.add(values[w], to_real(x.elements[w]));
    }
  }
  combine_rows<Op, kWidth>(values, entry.share, run);
  if (!run.is_busy || run.row != 0) return;
#pragma unroll
  for (int w = 0; w < kWidth; ++w) write<Op>(entry, samples, place, run.unit + w, values[w]);
}

template <class Op, class T, int kWidth>
__global__ void __launch_bounds__(kBlock)
    reduce_position_runs(const __grid_constant__ Table<ReduceEntry> table, int64_t samples) {
  const ReduceEntry& entry = entry_of_block(table);
  const Place place(entry.share, block_of_entry(entry));
  const PositionRun<kWidth> run(entry.share, place);
  const Op op(entry.epsilon);
  typename Op::Value value = 0;
  if (run.is_busy) {
    const T* start = start_of<const T>(entry.array, place.sample, run.unit);
#pragma unroll 4
    for (int32_t item = run.first; item < run.last; item += run.step) {
      const auto x =
          load_vector<kWidth>(start + position_offset(entry.share, entry.array, item * kWidth));
      typename Op::Value part = 0;
#pragma unroll
      for (int w = 0; w < kWidth; ++w) part = op.add(part, to_real(x.elements[w]));
      value = Op::combine(value, part);
    }
  }
  for (int step = entry.share.lanes / 2; step > 0; step /= 2)
    value = Op::combine(value, __shfl_xor_sync(kAllLanes, value, step));
  if (run.is_busy && run.lane == 0) write<Op>(entry, samples, place, run.unit, value);
}

// ------------------------------------------------------------------------------------ on host

struct Request {
  const moda_activation* activations;
  int64_t count, samples;
  const double* epsilons;  // NULL where the operation has none
  void* const* outputs;
};

// Comparisons in T give what those in double would: the largest number of its real type that is not
// above epsilon.
double threshold_of(int32_t dtype, double epsilon) {
  if (dtype == MODA_FLOAT64) return epsilon;
  const float nearest = static_cast<float>(epsilon);
  return nearest > epsilon ? std::nextafterf(nearest, -INFINITY) : nearest;
}

template <class Kernel, class Matches>
void launch_matching(Launcher& launch, const Request& request, int64_t width, Kernel kernel,
                     const Matches& matches) {
  auto tables = table_filler<ReduceEntry>([&](const Table<ReduceEntry>& table, int64_t blocks) {
    launch(kernel, blocks, table, request.samples);
  });
  for (int64_t i = 0; i < request.count; ++i) {
    const moda_activation& a = request.activations[i];
    if (!request.outputs[i] || !matches(a)) continue;
    ReduceEntry entry{};
    entry.array = strided(a);
    entry.share = share_of(a, width, reduction_parts(a));
    entry.output = request.outputs[i];
    entry.epsilon = request.epsilons ? threshold_of(a.dtype, request.epsilons[i]) : 0;
    tables.add(entry, block_count(entry.share, request.samples));
  }
  tables.finish();
}

template <class Op, class T, int kWidth>
void reduce_in_vectors(Launcher& launch, const Request& request, int32_t dtype) {
  constexpr int64_t widest = kVectorWidth<T>;
  const auto has_width = [=](const moda_activation& a) {
    const bool vector = Op::template has_vectors<T>() && is_vectorisable(a, widest);
    return a.dtype == dtype && vector == (kWidth > 1);
  };
  launch_matching(
      launch, request, kWidth, &reduce_unit_runs<Op, T, kWidth>,
      [&](const moda_activation& a) { return has_width(a) && is_unit_run(a); });
  launch_matching(
      launch, request, kWidth, &reduce_position_runs<Op, T, kWidth>,
      [&](const moda_activation& a) { return has_width(a) && !is_unit_run(a); });
}

template <class Op>
void reduce_positions(Launcher& launch, const Request& request) {
  for_each_element_type<typename Op::CallReal>([&](int32_t dtype, auto type) {
    using T = typename decltype(type)::type;
    if constexpr (Op::template has_vectors<T>())
      reduce_in_vectors<Op, T, kVectorWidth<T>>(launch, request, dtype);
    reduce_in_vectors<Op, T, 1>(launch, request, dtype);
  });
}

}  // namespace

int64_t reduction_parts(const moda_activation& activation) {
  return part_count(activation, kMostParts);
}

template <class R>
void sum_magnitudes(Launcher& launch, const moda_activation* activations, int64_t count,
                    int64_t samples, void* const* outputs) {
  reduce_positions<SumOfMagnitudes<R>>(launch,
                                       {activations, count, samples, nullptr, outputs});
}
template void sum_magnitudes<float>(Launcher&, const moda_activation*, int64_t, int64_t,
                                    void* const*);
template void sum_magnitudes<double>(Launcher&, const moda_activation*, int64_t, int64_t,
                                     void* const*);

void find_activity(Launcher& launch, const moda_activation* activations, int64_t count,
                   int64_t samples, const double* epsilons, void* const* outputs) {
  reduce_positions<Activity>(launch, {activations, count, samples, epsilons, outputs});
}

}  // namespace moda::cuda
