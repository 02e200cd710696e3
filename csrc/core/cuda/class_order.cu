#include "class_order.h"

#include "reduce.cuh"

namespace moda::cuda {
namespace {

// One block sorts: batches are short, and a second launch would cost more than it gains.
constexpr int kDigitBits = 8;
constexpr int kDigits = 1 << kDigitBits;
static_assert(kDigits == kBlock, "each thread has a digit");

struct Labels {
  const int32_t* labels;
  int32_t samples;
  uint32_t classes;

  // Samples of no class come after all others.
  __device__ __forceinline__ uint32_t key(int32_t sample) const {
    const uint32_t label = static_cast<uint32_t>(labels[sample]);
    return label < classes ? label : classes;
  }
};

// The sum over the threads before this one.
__device__ __forceinline__ int32_t block_sum_before(int32_t value) {
  __shared__ int32_t totals[kWarps];
  int32_t sum = value;
  for (int step = 1; step < kWarp; step *= 2) {
    const int32_t other = __shfl_up_sync(kAllLanes, sum, step);
    if (lane_index() >= step) sum += other;
  }
  __syncthreads();
  if (lane_index() == kWarp - 1) totals[warp_index()] = sum;
  __syncthreads();
  for (int warp = 0; warp < warp_index(); ++warp) sum += totals[warp];
  return sum - value;
}

// Where the samples of each digit start; `starts` has kDigits elements.
__device__ __forceinline__ void find_starts(const Labels& labels, int shift, int32_t* starts) {
  const int thread = static_cast<int>(threadIdx.x);
  starts[thread] = 0;
  __syncthreads();
  for (int32_t i = thread; i < labels.samples; i += kBlock)
    atomicAdd(&starts[(labels.key(i) >> shift) % kDigits], 1);
  __syncthreads();
  const int32_t start = block_sum_before(starts[thread]);
  starts[thread] = start;
  __syncthreads();
}

// The next place for each warp's samples of each digit, in the order of the batch.
__device__ __forceinline__ void place_warps(int32_t (*places)[kDigits], int32_t* starts) {
  const int digit = static_cast<int>(threadIdx.x);
  int32_t next = starts[digit];
  for (int warp = 0; warp < kWarps; ++warp) {
    const int32_t count = places[warp][digit];
    places[warp][digit] = next;
    next += count;
  }
  starts[digit] = next;
}

// One stable pass; `source` NULL stands for the order of the batch.
__device__ __forceinline__ void sort_by_digit(const Labels& labels, int shift,
                                              const int32_t* source, int32_t* target) {
  __shared__ int32_t starts[kDigits], places[kWarps][kDigits];
  const int thread = static_cast<int>(threadIdx.x), warp = warp_index();
  find_starts(labels, shift, starts);
  for (int32_t tile = 0; tile < labels.samples; tile += kBlock) {
    for (int w = 0; w < kWarps; ++w) places[w][thread] = 0;
    __syncthreads();
    const int32_t i = tile + thread;
    const bool is_sample = i < labels.samples;
    const int32_t sample = !is_sample ? 0 : source ? source[i] : i;
    const uint32_t digit = is_sample ? (labels.key(sample) >> shift) % kDigits : kDigits;
    const unsigned peers = __match_any_sync(kAllLanes, digit);
    const int rank = __popc(peers & ((1u << lane_index()) - 1));
    if (is_sample && rank == 0) places[warp][digit] = __popc(peers);
    __syncthreads();
    place_warps(places, starts);
    __syncthreads();
    if (is_sample) target[places[warp][digit] + rank] = sample;
    __syncthreads();
  }
}

// Numbers the classes that the sorted samples have.
__device__ __forceinline__ void find_classes(const Labels& labels, const ClassOrder& order) {
  __shared__ int32_t found, of_any_class;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) found = 0, of_any_class = labels.samples;
  for (int32_t tile = 0; tile < labels.samples; tile += kBlock) {
    const int32_t i = tile + thread;
    const bool is_sample = i < labels.samples;
    const int32_t sample = is_sample ? order.samples[i] : 0;
    const uint32_t key = is_sample ? labels.key(sample) : labels.classes;
    const bool is_first = is_sample && (i == 0 || labels.key(order.samples[i - 1]) != key);
    const bool is_class = key < labels.classes;
    const bool begins = is_first && is_class;
    const int32_t before = block_sum_before(begins);
    const int32_t k = found + before + begins - 1;
    if (begins) order.classes[k] = static_cast<int32_t>(key), order.begins[k] = i;
    if (is_first && !is_class) of_any_class = i;
    if (is_sample) order.class_of[sample] = is_class ? k : -1;
    __syncthreads();
    if (thread == kBlock - 1) found = k + 1;
    __syncthreads();
  }
  if (thread == 0) {
    order.terms->present = found;
    order.terms->samples = of_any_class;
    order.begins[found] = of_any_class;
  }
  __syncthreads();
}

// Integers, so that the sums are exact.
struct PairCounts {
  long long classes_with_pairs = 0, pairs_of_same_class = 0, squares = 0;
};

__device__ __forceinline__ PairCounts count_pairs(const ClassOrder& order, int32_t present) {
  PairCounts counts;
  for (int32_t k = static_cast<int32_t>(threadIdx.x); k < present; k += kBlock) {
    const long long n = order.begins[k + 1] - order.begins[k];
    counts.classes_with_pairs += n >= 2;
    counts.pairs_of_same_class += n * (n - 1) / 2;
    counts.squares += n * n;
  }
  counts.classes_with_pairs = block_sum(counts.classes_with_pairs);
  counts.pairs_of_same_class = block_sum(counts.pairs_of_same_class);
  counts.squares = block_sum(counts.squares);
  return counts;
}

__device__ __forceinline__ void weigh_classes(const ClassOrder& order, bool averages_pairs) {
  const int32_t present = order.terms->present;
  const double samples = order.terms->samples, classes = present;
  const PairCounts counts = count_pairs(order, present);
  const double classes_with_pairs = static_cast<double>(counts.classes_with_pairs);
  const double pairs_of_same_class = static_cast<double>(counts.pairs_of_same_class);
  for (int32_t k = static_cast<int32_t>(threadIdx.x); k < present; k += kBlock) {
    const double n = order.begins[k + 1] - order.begins[k];
    const double terms = averages_pairs ? pairs_of_same_class
                                        : classes_with_pairs * (n * (n - 1) / 2);
    order.affinity[k] = n < 2 ? 0 : 1 / terms;
    order.dispersion[k] = averages_pairs ? 1 : 1 / n;
    order.compactness[k] = averages_pairs ? 1 / samples : 1 / (classes * n);
  }
  if (threadIdx.x != 0) return;
  order.terms->classes_with_pairs = classes_with_pairs;
  order.terms->pairs_between =
      averages_pairs ? (samples * samples - static_cast<double>(counts.squares)) / 2
                     : classes * (classes - 1) / 2;
}

__global__ void __launch_bounds__(kBlock)
    order_kernel(Labels labels, int digits, bool averages_pairs, ClassOrder order) {
  // Passes alternate between two arrays, and the last one writes order.samples.
  const int32_t* source = nullptr;
  for (int digit = 0; digit < digits; ++digit) {
    int32_t* target = (digits - digit) % 2 == 1 ? order.samples : order.spare;
    sort_by_digit(labels, digit * kDigitBits, source, target);
    source = target;
  }
  find_classes(labels, order);
  weigh_classes(order, averages_pairs);
}

int digits_of(uint32_t largest) {
  int digits = 1;
  while (digits < 4 && largest >> (digits * kDigitBits)) ++digits;
  return digits;
}

}  // namespace

int64_t most_present(const moda_batch& batch) {
  return batch.samples < batch.classes ? batch.samples : batch.classes;
}

ClassOrder take_class_order(Workspace& workspace, const moda_batch& batch) {
  const int64_t present = most_present(batch);
  ClassOrder order;
  order.terms = workspace.take<ClassTerms>(1);
  order.classes = workspace.take<int32_t>(present);
  order.begins = workspace.take<int32_t>(present + 1);
  order.samples = workspace.take<int32_t>(batch.samples);
  order.class_of = workspace.take<int32_t>(batch.samples);
  order.affinity = workspace.take<double>(present);
  order.dispersion = workspace.take<double>(present);
  order.compactness = workspace.take<double>(present);
  order.spare = workspace.take<int32_t>(batch.samples);
  return order;
}

void order_classes(Launcher& launch, const moda_batch& batch, int32_t averaging,
                   const ClassOrder& order) {
  // Labels are int32, so no class beyond can have a sample.
  constexpr int64_t kLabels = int64_t{1} << 31;
  const auto classes = static_cast<uint32_t>(batch.classes < kLabels ? batch.classes : kLabels);
  const Labels labels{batch.labels, static_cast<int32_t>(batch.samples), classes};
  launch(&order_kernel, 1, labels, digits_of(classes), averaging == MODA_AVERAGE_PAIRS, order);
}

}  // namespace moda::cuda
