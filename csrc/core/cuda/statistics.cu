#include "statistics.h"

#include "class_sums.cuh"

namespace moda::cuda {
namespace {

template <class R>
__global__ void __launch_bounds__(kBlock)
    class_sum_kernel(const R* normalized, int32_t units, ClassOrder order, R* sums,
                     int64_t stride) {
  const UnitPlace place(units, static_cast<int32_t>(blockIdx.x));
  if (!place.is_unit) return;
  for_classes(order, [&](int32_t k) {
    const double sum = class_sum(normalized + place.unit, units, order, k);
    sums[order.classes[k] * stride + place.unit] = static_cast<R>(sum);
  });
}

// A warp for each class.
template <class R>
__global__ void __launch_bounds__(kBlock)
    column_kernel(Rows<R> rows, ClassOrder order, Statistics<R> statistics, int64_t stride) {
  const int32_t k = static_cast<int32_t>(blockIdx.x) * kWarps + warp_index();
  if (k >= order.terms->present) return;
  double nonzero = 0, l1 = 0;
  for (int32_t i = order.begins[k] + lane_index(); i < order.begins[k + 1]; i += kWarp) {
    nonzero += rows.inverse_norms[order.samples[i]] != 0;
    l1 += rows.l1[order.samples[i]];
  }
  nonzero = warp_sum(nonzero);
  l1 = warp_sum(l1);
  if (lane_index() != 0) return;
  const int64_t label = order.classes[k];
  statistics.counts[label] = static_cast<R>(order.begins[k + 1] - order.begins[k]);
  statistics.nonzero[label * stride] = static_cast<R>(nonzero);
  statistics.l1[label * stride] = static_cast<R>(l1);
}

}  // namespace

template <class R>
void find_statistics(Launcher& launch, const moda_activation* activations, int64_t count,
                     const moda_batch& batch, const ClassOrder& order, const Rows<R>* rows,
                     const Statistics<R>& statistics) {
  const auto classes = static_cast<size_t>(batch.classes);
  int64_t units = 0;
  for (int64_t a = 0; a < count; ++a) units += activations[a].units;
  const size_t columns = classes * static_cast<size_t>(count) * sizeof(R);
  launch.clear(statistics.sums, classes * static_cast<size_t>(units) * sizeof(R));
  launch.clear(statistics.counts, classes * sizeof(R));
  launch.clear(statistics.nonzero, columns);
  launch.clear(statistics.l1, columns);
  R* sums = statistics.sums;
  for (int64_t a = 0; a < count; ++a) {
    const R* normalized = rows[a].normalized;
    launch(&class_sum_kernel<R>, unit_block_count(activations[a].units), normalized,
           static_cast<int32_t>(activations[a].units), order, sums, units);
    const Statistics<R> own{sums, statistics.counts, statistics.nonzero + a, statistics.l1 + a};
    launch(&column_kernel<R>, divide_up(most_present(batch), kWarps), rows[a], order, own, count);
    sums += activations[a].units;
  }
}
template void find_statistics<float>(Launcher&, const moda_activation*, int64_t,
                                     const moda_batch&, const ClassOrder&, const Rows<float>*,
                                     const Statistics<float>&);
template void find_statistics<double>(Launcher&, const moda_activation*, int64_t,
                                      const moda_batch&, const ClassOrder&, const Rows<double>*,
                                      const Statistics<double>&);

}  // namespace moda::cuda
