#include "unit_vectors.h"

#include "positions.h"
#include "reduce.cuh"
#include "row.cuh"
#include "table.cuh"

namespace moda::cuda {
namespace {

struct NormalizeEntry {
  const void* source;     // elements, or sums of their magnitudes
  int64_t sample_stride;  // of elements
  int64_t unit_stride;
  int32_t parts;  // of the sums, 0 for elements
  int32_t whole_elements;
  RowShare share;
  int32_t first_block;
  double scale;  // makes means of the sums
  void* normalized;
  double* inverse_norms;
  double* l1;
};

template <class R>
using RealVector = Vector<R, kVectorWidth<R>>;

template <class R, class T>
__device__ __forceinline__ RealVector<R> load_elements(const NormalizeEntry& entry, int64_t sample,
                                                       int32_t unit) {
  constexpr int kWidth = kVectorWidth<R>;
  const T* row = static_cast<const T*>(entry.source) + sample * entry.sample_stride;
  RealVector<R> values;
  if (entry.whole_elements) {
    const auto x = load_vector<kWidth>(row + unit);
#pragma unroll
    for (int w = 0; w < kWidth; ++w)
      values.elements[w] = static_cast<R>(magnitude(to_real(x.elements[w])));
    return values;
  }
#pragma unroll
  for (int w = 0; w < kWidth; ++w)
    values.elements[w] =
        unit + w < entry.share.units
            ? static_cast<R>(magnitude(to_real(row[(unit + w) * entry.unit_stride])))
            : R(0);
  return values;
}

template <class R>
__device__ __forceinline__ RealVector<R> load_means(const NormalizeEntry& entry, int64_t sample,
                                                    int64_t samples, int32_t unit) {
  constexpr int kWidth = kVectorWidth<R>;
  const int32_t units = entry.share.units;
  RealVector<R> values{};
#pragma unroll 4
  for (int32_t part = 0; part < entry.parts; ++part) {
    const R* row = static_cast<const R*>(entry.source) + (part * samples + sample) * units;
    const auto sums = load_reals<kWidth>(row, unit, units, entry.share.whole_vectors);
#pragma unroll
    for (int w = 0; w < kWidth; ++w) values.elements[w] += sums.elements[w];
  }
#pragma unroll
  for (int w = 0; w < kWidth; ++w) values.elements[w] *= static_cast<R>(entry.scale);
  return values;
}

// The activation vector, read anew by each pass over it: it comes from the cache.
template <class R, class T, class Body>
__device__ __forceinline__ void for_values(const NormalizeEntry& entry, const RowPlace& place,
                                           int64_t samples, const Body& body) {
  if (place.sample >= samples) return;
  constexpr int kWidth = kVectorWidth<R>;
  for (int32_t unit = place.thread * kWidth; unit < entry.share.units;
       unit += place.threads * kWidth)
    body(unit, entry.parts ? load_means<R>(entry, place.sample, samples, unit)
                           : load_elements<R, T>(entry, place.sample, unit));
}

// What to multiply a row with so that its squares neither overflow nor vanish in double; those of
// floats do neither.
template <class R, class T>
__device__ __forceinline__ double safe_scale(const NormalizeEntry& entry, const RowPlace& place,
                                             int64_t samples) {
  if constexpr (sizeof(R) == sizeof(float)) {
    return 1;
  } else {
    double peak = 0;
    for_values<R, T>(entry, place, samples, [&](int32_t, const RealVector<R>& values) {
      for (const R value : values.elements) peak = value > peak ? value : peak;
    });
    peak = row_peak(peak, entry.share.by_block);
    if (peak > 1e150) return 1e-300;
    return peak < 1e-150 && peak > 0 ? 1e300 : 1;
  }
}

template <class R>
__device__ __forceinline__ R times_factor(R value, double scale, double inverse) {
  const double factor = inverse * scale;
  if (sizeof(R) == sizeof(float) && factor > 1e-30 && factor < 1e30)
    return value * static_cast<R>(factor);
  return static_cast<R>((value * scale) * inverse);
}

template <class R, class T>
__global__ void __launch_bounds__(kBlock)
    normalize_kernel(const __grid_constant__ Table<NormalizeEntry> table, int64_t samples) {
  const NormalizeEntry& entry = entry_of_block(table);
  const RowPlace place(entry.share, block_of_entry(entry));
  const double scale = safe_scale<R, T>(entry, place, samples);
  double l1 = 0, squares = 0;
  for_values<R, T>(entry, place, samples, [&](int32_t, const RealVector<R>& values) {
    for (const R value : values.elements) {
      l1 += value;
      squares += (value * scale) * (value * scale);
    }
  });
  l1 = row_sum(l1, entry.share.by_block);
  squares = row_sum(squares, entry.share.by_block);
  if (place.sample >= samples) return;

  // An infinite norm is no direction: NaN, as 0 / 0 would be.
  const double inverse = squares == 0 ? 0 : isinf(squares) ? NAN : 1 / sqrt(squares);
  R* row = static_cast<R*>(entry.normalized) + place.sample * entry.share.units;
  for_values<R, T>(entry, place, samples, [&](int32_t unit, RealVector<R> values) {
    for (R& value : values.elements) value = times_factor(value, scale, inverse);
    store_reals(row, unit, entry.share.units, entry.share.whole_vectors, values);
  });
  if (place.thread != 0) return;
  entry.inverse_norms[place.sample] = inverse * scale;
  entry.l1[place.sample] = l1;
}

template <class R>
NormalizeEntry entry_of(const moda_activation& a, const void* sums, const Rows<R>& rows) {
  NormalizeEntry entry{};
  entry.source = sums ? sums : a.data;
  entry.sample_stride = a.sample_stride;
  entry.unit_stride = a.unit_stride;
  entry.parts = sums ? static_cast<int32_t>(reduction_parts(a)) : 0;
  entry.whole_elements = a.unit_stride == 1 && is_vectorisable(a, kVectorWidth<R>);
  entry.share = row_share_of<R>(a.units, {rows.normalized});
  entry.scale = 1.0 / static_cast<double>(positions_of(a));
  entry.normalized = rows.normalized;
  entry.inverse_norms = rows.inverse_norms;
  entry.l1 = rows.l1;
  return entry;
}

}  // namespace

template <class R>
void normalize(Launcher& launch, const moda_activation* activations, int64_t count,
               int64_t samples, const void* const* sums, const Rows<R>* rows) {
  for_each_element_type<R>([&](int32_t dtype, auto type) {
    using T = typename decltype(type)::type;
    auto tables = table_filler<NormalizeEntry>(
        [&](const Table<NormalizeEntry>& table, int64_t blocks) {
          launch(&normalize_kernel<R, T>, blocks, table, samples);
        });
    for (int64_t a = 0; a < count; ++a) {
      if (activations[a].dtype != dtype) continue;
      const NormalizeEntry entry = entry_of(activations[a], sums[a], rows[a]);
      tables.add(entry, row_block_count(entry.share, samples));
    }
    tables.finish();
  });
}
template void normalize<float>(Launcher&, const moda_activation*, int64_t, int64_t,
                               const void* const*, const Rows<float>*);
template void normalize<double>(Launcher&, const moda_activation*, int64_t, int64_t,
                                const void* const*, const Rows<double>*);

}  // namespace moda::cuda
