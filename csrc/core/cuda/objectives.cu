#include "objectives.h"

#include "class_sums.cuh"
#include "table.cuh"

namespace moda::cuda {
namespace {

// What a block adds to the objectives of its activation, with the weights of the classes in it: no
// squared norm of a single class is ever needed.
struct Partial {
  double similarity;  // sum of affinity_k ||S_k||^2
  double own;         // sum of (w_k ||S_k||)^2
  double total;       // ||T||^2
};
constexpr int64_t kPartialDoubles = sizeof(Partial) / sizeof(double);

template <class R>
struct SumEntry {
  const R* normalized;
  R* totals;
  Partial* partials;
  int32_t units;
  int32_t first_block;
};

// T of each unit, by the first warp.
__device__ __forceinline__ double total_over_warps(double total) {
  __shared__ double totals[kWarps][kWarp];
  totals[warp_index()][lane_index()] = total;
  __syncthreads();
  if (warp_index() != 0) return 0;
  total = 0;
  for (int warp = 0; warp < kWarps; ++warp) total += totals[warp][lane_index()];
  return total;
}

template <class R>
__global__ void __launch_bounds__(kBlock)
    sum_kernel(const __grid_constant__ Table<SumEntry<R>> table, ClassOrder order) {
  const SumEntry<R>& entry = entry_of_block(table);
  const int32_t block = block_of_entry(entry);
  const UnitPlace place(entry.units, block);
  const R* column = entry.normalized + place.unit;
  Partial partial{};
  double total = 0;
  if (place.is_unit) {
    for_classes(order, [&](int32_t k) {
      const double sum = class_sum(column, entry.units, order, k);
      const double affinity = order.affinity[k], weighted = order.dispersion[k] * sum;
      // A class of one sample has no pair, whatever its sum.
      if (affinity > 0) partial.similarity += affinity * (sum * sum);
      partial.own += weighted * weighted;
      total += weighted;
    });
  }
  total = total_over_warps(total);
  if (warp_index() == 0 && place.is_unit)
    entry.totals[place.unit] = static_cast<R>(total);
  partial.similarity = block_sum(partial.similarity);
  partial.own = block_sum(partial.own);
  partial.total = block_sum(total * total);
  if (threadIdx.x == 0) entry.partials[block] = partial;
}

struct ObjectivesEntry {
  const Partial* partials;
  const double* inverse_norms;
  const double* l1;
  double* objectives;
  double divisor;  // of the compactness
  int32_t partial_count;
  int32_t first_block;
};

__device__ __forceinline__ Partial sum_partials(const ObjectivesEntry& entry) {
  Partial sum{};
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < entry.partial_count; i += kBlock) {
    sum.similarity += entry.partials[i].similarity;
    sum.own += entry.partials[i].own;
    sum.total += entry.partials[i].total;
  }
  return {block_sum(sum.similarity), block_sum(sum.own), block_sum(sum.total)};
}

__global__ void __launch_bounds__(kBlock)
    objectives_kernel(const __grid_constant__ Table<ObjectivesEntry> table, ClassOrder order,
                      int32_t samples) {
  const ObjectivesEntry& entry = entry_of_block(table);
  const Partial sums = sum_partials(entry);
  double nonzero = 0, l1 = 0;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < samples; i += kBlock) {
    const int32_t k = order.class_of[i];
    if (k < 0) continue;
    nonzero += entry.inverse_norms[i] != 0 ? order.affinity[k] : 0;
    l1 += order.compactness[k] * entry.l1[i];
  }
  nonzero = block_sum(nonzero);
  l1 = block_sum(l1);
  if (threadIdx.x != 0) return;
  const double between = order.terms->pairs_between;
  const bool has_pairs = order.terms->classes_with_pairs > 0;
  entry.objectives[MODA_AFFINITY] = has_pairs ? 1 - (sums.similarity - nonzero) / 2 : 0;
  entry.objectives[MODA_DISPERSION] = between > 0 ? (sums.total - sums.own) / (2 * between) : 0;
  entry.objectives[MODA_COMPACTNESS] = l1 / entry.divisor;
}

template <class R>
struct DirectionEntry {
  const R* normalized;
  const R* totals;
  Directions<R> directions;
  const double* upstream;
  double divisor;  // of the compactness
  int32_t units;
  int32_t first_block;
};

template <class R>
__global__ void __launch_bounds__(kBlock)
    direction_kernel(const __grid_constant__ Table<DirectionEntry<R>> table, ClassOrder order) {
  const DirectionEntry<R>& entry = entry_of_block(table);
  const UnitPlace place(entry.units, block_of_entry(entry));
  if (!place.is_unit) return;
  const R* column = entry.normalized + place.unit;
  const double total = entry.totals[place.unit];
  const double between = order.terms->pairs_between;
  const double to_affinity = entry.upstream[MODA_AFFINITY];
  const double to_dispersion = between > 0 ? entry.upstream[MODA_DISPERSION] / between : 0;
  for_classes(order, [&](int32_t k) {
    const double apart = to_dispersion * order.dispersion[k];
    const double own = -to_affinity * order.affinity[k] - apart * order.dispersion[k];
    const double sum = class_sum(column, entry.units, order, k);
    entry.directions.sums[int64_t{k} * entry.units + place.unit] =
        static_cast<R>(own * sum + apart * total);
    if (place.unit == 0)
      entry.directions.l1[k] =
          static_cast<R>(entry.upstream[MODA_COMPACTNESS] * order.compactness[k] / entry.divisor);
  });
}

double divisor_of(const moda_activation& a, const moda_options& options) {
  return options.unit_divides ? static_cast<double>(a.units) : 1;
}

}  // namespace

int64_t partial_count(const moda_activation* activations, int64_t count) {
  int64_t blocks = 0;
  for (int64_t a = 0; a < count; ++a) blocks += unit_block_count(activations[a].units);
  return blocks * kPartialDoubles;
}

template <class R>
void sum_classes(Launcher& launch, const moda_activation* activations, int64_t count,
                 const ClassOrder& order, const Rows<R>* rows, R* const* totals,
                 Partial* partials) {
  auto tables = table_filler<SumEntry<R>>([&](const Table<SumEntry<R>>& table, int64_t blocks) {
    launch(&sum_kernel<R>, blocks, table, order);
  });
  for (int64_t a = 0; a < count; ++a) {
    const int64_t blocks = unit_block_count(activations[a].units);
    tables.add({rows[a].normalized, totals[a], partials,
                static_cast<int32_t>(activations[a].units), 0},
               blocks);
    partials += blocks;
  }
  tables.finish();
}

template <class R>
void find_objectives(Launcher& launch, const moda_activation* activations, int64_t count,
                     const moda_batch& batch, const moda_options& options, const ClassOrder& order,
                     const Rows<R>* rows, R* const* totals, double* partials, double* objectives) {
  Partial* parts = reinterpret_cast<Partial*>(partials);
  sum_classes(launch, activations, count, order, rows, totals, parts);
  const auto samples = static_cast<int32_t>(batch.samples);
  auto tables =
      table_filler<ObjectivesEntry>([&](const Table<ObjectivesEntry>& table, int64_t blocks) {
        launch(&objectives_kernel, blocks, table, order, samples);
      });
  for (int64_t a = 0; a < count; ++a) {
    const int64_t blocks = unit_block_count(activations[a].units);
    tables.add({parts, rows[a].inverse_norms, rows[a].l1, objectives + a * MODA_OBJECTIVES,
                divisor_of(activations[a], options), static_cast<int32_t>(blocks), 0},
               1);
    parts += blocks;
  }
  tables.finish();
}

template <class R>
void find_directions(Launcher& launch, const moda_activation* activations, int64_t count,
                     const moda_options& options, const ClassOrder& order, const Rows<R>* rows,
                     const R* const* totals, const double* upstream,
                     const Directions<R>* directions) {
  auto tables =
      table_filler<DirectionEntry<R>>([&](const Table<DirectionEntry<R>>& table, int64_t blocks) {
        launch(&direction_kernel<R>, blocks, table, order);
      });
  for (int64_t a = 0; a < count; ++a)
    tables.add({rows[a].normalized, totals[a], directions[a], upstream + a * MODA_OBJECTIVES,
                divisor_of(activations[a], options), static_cast<int32_t>(activations[a].units),
                0},
               unit_block_count(activations[a].units));
  tables.finish();
}

#define MODA_INSTANTIATE(R)                                                                      \
  template void find_objectives<R>(Launcher&, const moda_activation*, int64_t,                   \
                                   const moda_batch&, const moda_options&, const ClassOrder&,    \
                                   const Rows<R>*, R* const*, double*, double*);                 \
  template void find_directions<R>(Launcher&, const moda_activation*, int64_t,                   \
                                   const moda_options&, const ClassOrder&, const Rows<R>*,       \
                                   const R* const*, const double*, const Directions<R>*);
MODA_INSTANTIATE(float)
MODA_INSTANTIATE(double)

}  // namespace moda::cuda
