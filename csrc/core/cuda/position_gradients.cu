#include "position_gradients.h"

#include "layout.cuh"
#include "table.cuh"

namespace moda::cuda {
namespace {

struct WriteEntry {
  Strided activation, gradient;
  Share share;
  const void* vectors;
  int32_t non_negative;
  int32_t first_block;
};

// The gradient of |x| at 0 is 0; a NaN has no sign and stays.
template <class R, class T>
__device__ __forceinline__ R signed_like(R value, T element) {
  const auto x = to_real(element);
  return x > 0 ? value : x < 0 ? -value : static_cast<R>(x);
}

// One vector of elements, at these offsets; `value(w)` is for element w.
template <class R, class T, int kWidth, class Value>
__device__ __forceinline__ void write(const WriteEntry& entry, const T* x, T* gradient,
                                      const Value& value) {
  Vector<T, kWidth> result;
  if (entry.non_negative) {
#pragma unroll
    for (int w = 0; w < kWidth; ++w) result.elements[w] = FromReal<T>::round(value(w));
  } else {
    const Vector<T, kWidth> elements = load_vector<kWidth>(x);
#pragma unroll
    for (int w = 0; w < kWidth; ++w)
      result.elements[w] = FromReal<T>::round(signed_like<R>(value(w), elements.elements[w]));
  }
  store_vector(gradient, result);
}

template <class R>
__device__ __forceinline__ const R* vector_of(const WriteEntry& entry, const Place& place) {
  return static_cast<const R*>(entry.vectors) + place.sample * entry.share.units;
}

template <class R, class T, int kWidth>
__global__ void __launch_bounds__(kBlock)
    write_unit_runs(const __grid_constant__ Table<WriteEntry> table) {
  const WriteEntry& entry = entry_of_block(table);
  const Place place(entry.share, block_of_entry(entry));
  const UnitRun<kWidth> run(entry.share, place);
  if (!run.is_busy) return;
  const R* vector = vector_of<R>(entry, place) + run.unit;
  R values[kWidth];
#pragma unroll
  for (int w = 0; w < kWidth; ++w) values[w] = vector[w];
  const T* x = start_of<const T>(entry.activation, place.sample, run.unit);
  T* gradient = start_of<T>(entry.gradient, place.sample, run.unit);
#pragma unroll 4
  for (int32_t position = run.first; position < run.last; position += run.step)
    write<R, T, kWidth>(entry, x + position_offset(entry.share, entry.activation, position),
                        gradient + position_offset(entry.share, entry.gradient, position),
                        [&](int w) { return values[w]; });
}

template <class R, class T, int kWidth>
__global__ void __launch_bounds__(kBlock)
    write_position_runs(const __grid_constant__ Table<WriteEntry> table) {
  const WriteEntry& entry = entry_of_block(table);
  const Place place(entry.share, block_of_entry(entry));
  const PositionRun<kWidth> run(entry.share, place);
  if (!run.is_busy) return;
  const R value = vector_of<R>(entry, place)[run.unit];
  const T* x = start_of<const T>(entry.activation, place.sample, run.unit);
  T* gradient = start_of<T>(entry.gradient, place.sample, run.unit);
#pragma unroll 4
  for (int32_t item = run.first; item < run.last; item += run.step)
    write<R, T, kWidth>(
        entry, x + position_offset(entry.share, entry.activation, item * kWidth),
        gradient + position_offset(entry.share, entry.gradient, item * kWidth),
        [&](int) { return value; });
}

// ------------------------------------------------------------------------------------ on host

template <class R>
struct Request {
  const moda_activation* activations;
  int64_t count, samples;
  const R* const* vectors;
  const moda_activation* const* outputs;
};

template <class R, class Kernel, class Matches>
void launch_matching(Launcher& launch, const Request<R>& request, int64_t width, Kernel kernel,
                     const Matches& matches) {
  auto tables = table_filler<WriteEntry>(
      [&](const Table<WriteEntry>& table, int64_t blocks) { launch(kernel, blocks, table); });
  for (int64_t i = 0; i < request.count; ++i) {
    const moda_activation& a = request.activations[i];
    if (!request.outputs[i] || !matches(a, *request.outputs[i])) continue;
    const Share share = share_of(a, width, part_count(a, INT32_MAX));
    tables.add({strided(a), strided(*request.outputs[i]), share, request.vectors[i],
                a.non_negative, 0},
               block_count(share, request.samples));
  }
  tables.finish();
}

template <class R, class T, int kWidth>
void write_in_vectors(Launcher& launch, const Request<R>& request, int32_t dtype) {
  constexpr int64_t widest = kVectorWidth<T>;
  const auto has_width = [=](const moda_activation& a, const moda_activation& gradient) {
    const bool vector = kHasVectors<R, T> && is_unit_run(a) == is_unit_run(gradient) &&
                        is_vectorisable(a, widest) && is_vectorisable(gradient, widest);
    return a.dtype == dtype && vector == (kWidth > 1);
  };
  launch_matching(launch, request, kWidth, &write_unit_runs<R, T, kWidth>,
                  [&](const moda_activation& a, const moda_activation& gradient) {
                    return has_width(a, gradient) && is_unit_run(a);
                  });
  launch_matching(launch, request, kWidth, &write_position_runs<R, T, kWidth>,
                  [&](const moda_activation& a, const moda_activation& gradient) {
                    return has_width(a, gradient) && !is_unit_run(a);
                  });
}

}  // namespace

template <class R>
void write_gradients(Launcher& launch, const moda_activation* activations, int64_t count,
                     int64_t samples, const R* const* vectors,
                     const moda_activation* const* outputs) {
  const Request<R> request{activations, count, samples, vectors, outputs};
  for_each_element_type<R>([&](int32_t dtype, auto type) {
    using T = typename decltype(type)::type;
    if constexpr (kHasVectors<R, T>)
      write_in_vectors<R, T, kVectorWidth<T>>(launch, request, dtype);
    write_in_vectors<R, T, 1>(launch, request, dtype);
  });
}
template void write_gradients<float>(Launcher&, const moda_activation*, int64_t, int64_t,
                                     const float* const*, const moda_activation* const*);
template void write_gradients<double>(Launcher&, const moda_activation*, int64_t, int64_t,
                                      const double* const*, const moda_activation* const*);

}  // namespace moda::cuda
