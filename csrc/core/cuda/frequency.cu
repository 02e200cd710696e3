#include "frequency.h"

#include "class_sums.cuh"
#include "positions.h"
#include "table.cuh"

namespace moda::cuda {
namespace {

struct CountEntry {
  const uint8_t* flags;  // (parts, samples, units)
  int32_t* counts;
  int32_t* not_finite;  // NULL where nobody asks
  int32_t units;
  int32_t parts;
  int32_t first_block;
};

// The samples of order.samples[begin, end) that this unit is active in, and not finite in.
struct Tally {
  int32_t active = 0, not_finite = 0;

  __device__ __forceinline__ void count(const CountEntry& entry, const ClassOrder& order,
                                        int64_t samples, int32_t unit, int32_t begin,
                                        int32_t end) {
    for (int32_t i = begin; i < end; ++i) {
      unsigned flags = 0;
      for (int32_t part = 0; part < entry.parts; ++part)
        flags |= entry.flags[(part * samples + order.samples[i]) * entry.units + unit];
      // A NaN is larger than nothing, and hides what is beside it.
      active += (flags & kActive) && !(flags & kNan);
      not_finite += (flags & (kInfinite | kNan)) != 0;
    }
  }
};

__global__ void __launch_bounds__(kBlock)
    count_kernel(const __grid_constant__ Table<CountEntry> table, ClassOrder order,
                 int32_t samples) {
  const CountEntry& entry = entry_of_block(table);
  const UnitPlace place(entry.units, block_of_entry(entry));
  int32_t not_finite = 0;
  if (place.is_unit) {
    for_classes(order, [&](int32_t k) {
      Tally tally;
      tally.count(entry, order, samples, place.unit, order.begins[k], order.begins[k + 1]);
      entry.counts[int64_t{order.classes[k]} * entry.units + place.unit] += tally.active;
      not_finite += tally.not_finite;
    });
  }
  if (!entry.not_finite) return;
  if (place.is_unit && warp_index() == kWarps - 1) {
    Tally of_no_class;
    of_no_class.count(entry, order, samples, place.unit, order.terms->samples, samples);
    not_finite += of_no_class.not_finite;
  }
  not_finite = warp_sum(not_finite);
  if (lane_index() == 0 && not_finite > 0) atomicAdd(entry.not_finite, not_finite);
}

}  // namespace

void count_activity(Launcher& launch, const moda_activation* activations, int64_t count,
                    const moda_batch& batch, const ClassOrder& order, const void* const* flags,
                    int32_t* const* counts, int32_t* not_finite) {
  const auto samples = static_cast<int32_t>(batch.samples);
  auto tables = table_filler<CountEntry>([&](const Table<CountEntry>& table, int64_t blocks) {
    launch(&count_kernel, blocks, table, order, samples);
  });
  for (int64_t a = 0; a < count; ++a)
    tables.add({static_cast<const uint8_t*>(flags[a]), counts[a],
                not_finite ? not_finite + a : nullptr, static_cast<int32_t>(activations[a].units),
                static_cast<int32_t>(reduction_parts(activations[a])), 0},
               unit_block_count(activations[a].units));
  tables.finish();
}

}  // namespace moda::cuda
