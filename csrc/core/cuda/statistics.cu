#include "statistics.h"

#include "class_sums.cuh"

namespace moda::cuda {
namespace {

template <class R>
__global__ void __launch_bounds__(kBlock)
    class_sum_kernel(const R* normalized, int32_t units, ClassOrder order, R* sums) {
  const UnitPlace place(units, static_cast<int32_t>(blockIdx.x));
  if (!place.is_unit) return;
  for_classes(order, [&](int32_t k) {
    const double sum = class_sum(normalized + place.unit, units, order, k);
    sums[int64_t{order.classes[k]} * units + place.unit] = static_cast<R>(sum);
  });
}

// A warp for each class.
template <class R>
__global__ void __launch_bounds__(kBlock)
    column_kernel(Rows<R> rows, ClassOrder order, Statistics<R> statistics) {
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
  const int32_t label = order.classes[k];
  statistics.counts[label] = static_cast<R>(order.begins[k + 1] - order.begins[k]);
  statistics.nonzero[label] = static_cast<R>(nonzero);
  statistics.l1[label] = static_cast<R>(l1);
}

}  // namespace

template <class R>
void find_statistics(Launcher& launch, const moda_activation& activation, const moda_batch& batch,
                     const ClassOrder& order, const Rows<R>& rows,
                     const Statistics<R>& statistics) {
  const auto classes = static_cast<size_t>(batch.classes);
  launch.clear(statistics.sums, classes * static_cast<size_t>(activation.units) * sizeof(R));
  launch.clear(statistics.counts, classes * sizeof(R));
  launch.clear(statistics.nonzero, classes * sizeof(R));
  launch.clear(statistics.l1, classes * sizeof(R));
  const R* normalized = rows.normalized;
  launch(&class_sum_kernel<R>, unit_block_count(activation.units), normalized,
         static_cast<int32_t>(activation.units), order, statistics.sums);
  launch(&column_kernel<R>, divide_up(most_present(batch), kWarps), rows, order, statistics);
}
template void find_statistics<float>(Launcher&, const moda_activation&, const moda_batch&,
                                     const ClassOrder&, const Rows<float>&,
                                     const Statistics<float>&);
template void find_statistics<double>(Launcher&, const moda_activation&, const moda_batch&,
                                      const ClassOrder&, const Rows<double>&,
                                      const Statistics<double>&);

}  // namespace moda::cuda
