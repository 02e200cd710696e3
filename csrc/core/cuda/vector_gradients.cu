#include "vector_gradients.h"

#include "layout.cuh"
#include "reduce.cuh"
#include "row.cuh"
#include "table.cuh"

namespace moda::cuda {
namespace {

template <class R>
struct VectorEntry {
  VectorGradient<R> arrays;
  double share;  // of one position in the mean over positions
  RowShare row;
  int32_t first_block;
};

// Calls body(unit, normalized, direction) for the vectors of this thread.
template <class R, class Body>
__device__ __forceinline__ void for_vectors(const VectorEntry<R>& entry, const RowPlace& place,
                                            int32_t direction, const Body& body) {
  constexpr int kWidth = kVectorWidth<R>;
  const int32_t units = entry.row.units;
  const R* normalized = entry.arrays.normalized + place.sample * units;
  const R* directions = entry.arrays.directions + direction * entry.arrays.directions_stride;
  for (int32_t unit = place.thread * kWidth; unit < units; unit += place.threads * kWidth)
    body(unit, load_reals<kWidth>(normalized, unit, units, entry.row.whole_vectors),
         load_reals<kWidth>(directions, unit, units, entry.row.whole_vectors));
}

template <class R>
__device__ __forceinline__ void fill(const VectorEntry<R>& entry, const RowPlace& place, R value) {
  R* vectors = entry.arrays.vectors + place.sample * entry.row.units;
  for (int32_t unit = place.thread; unit < entry.row.units; unit += place.threads)
    vectors[unit] = value;
}

// The norm's derivative projects the direction onto what is perpendicular to the unit vector.
template <class R>
__device__ __forceinline__ void project(const VectorEntry<R>& entry, const RowPlace& place,
                                        int32_t direction, double inverse_norm, R constant) {
  constexpr int kWidth = kVectorWidth<R>;
  using Reals = Vector<R, kWidth>;
  double product = 0;
  for_vectors(entry, place, direction, [&](int32_t, const Reals& unit_vector, const Reals& d) {
#pragma unroll
    for (int w = 0; w < kWidth; ++w)
      product += static_cast<double>(unit_vector.elements[w]) * d.elements[w];
  });
  const R along = static_cast<R>(row_sum(product, entry.row.by_block));
  const double most = sizeof(R) == sizeof(float) ? 3e38 : 1e308;
  const double steepness = inverse_norm * entry.share;
  const R factor = static_cast<R>(steepness > most ? most : steepness);
  R* vectors = entry.arrays.vectors + place.sample * entry.row.units;
  for_vectors(entry, place, direction, [&](int32_t unit, const Reals& unit_vector, Reals d) {
#pragma unroll
    for (int w = 0; w < kWidth; ++w)
      d.elements[w] = (d.elements[w] - unit_vector.elements[w] * along) * factor + constant;
    store_reals(vectors, unit, entry.row.units, entry.row.whole_vectors, d);
  });
}

// All threads of a row take the same branches, so that they meet in its sum.
template <class R>
__global__ void __launch_bounds__(kBlock)
    vector_gradient_kernel(const __grid_constant__ Table<VectorEntry<R>> table, int64_t samples,
                           const int32_t* row_of, int64_t rows) {
  const VectorEntry<R>& entry = entry_of_block(table);
  const RowPlace place(entry.row, block_of_entry(entry));
  if (place.sample >= samples) return;
  const int32_t direction = row_of[place.sample];
  if (direction < 0 || direction >= rows) return fill(entry, place, R(0));
  const R constant = static_cast<R>(entry.arrays.l1[direction * entry.arrays.l1_stride] * entry.share);
  const double inverse_norm = entry.arrays.inverse_norms[place.sample];
  if (inverse_norm == 0) return fill(entry, place, constant);
  project(entry, place, direction, inverse_norm, constant);
}

}  // namespace

template <class R>
void find_vector_gradients(Launcher& launch, const moda_activation* activations, int64_t count,
                           int64_t samples, const int32_t* row_of, int64_t rows,
                           const VectorGradient<R>* gradients) {
  auto tables =
      table_filler<VectorEntry<R>>([&](const Table<VectorEntry<R>>& table, int64_t blocks) {
        launch(&vector_gradient_kernel<R>, blocks, table, samples, row_of, rows);
      });
  for (int64_t a = 0; a < count; ++a) {
    const VectorGradient<R>& arrays = gradients[a];
    const double share = 1.0 / static_cast<double>(positions_of(activations[a]));
    RowShare row = row_share_of<R>(activations[a].units,
                                   {arrays.normalized, arrays.directions, arrays.vectors});
    row.whole_vectors = row.whole_vectors && arrays.directions_stride % kVectorWidth<R> == 0;
    tables.add({arrays, share, row, 0}, row_block_count(row, samples));
  }
  tables.finish();
}
template void find_vector_gradients<float>(Launcher&, const moda_activation*, int64_t, int64_t,
                                           const int32_t*, int64_t, const VectorGradient<float>*);
template void find_vector_gradients<double>(Launcher&, const moda_activation*, int64_t, int64_t,
                                            const int32_t*, int64_t,
                                            const VectorGradient<double>*);

}  // namespace moda::cuda
