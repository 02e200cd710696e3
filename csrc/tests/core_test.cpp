// The core against loops over pairs of samples in double, from the paper's equations. Exits with 0
// if all holds. Built with the sanitizers too: see CMakeLists.txt, MODA_SANITIZE.
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "moda_core.h"

// An allocation of this many bytes fails; 0 for none.
std::atomic<size_t> failing_bytes{0};

[[gnu::noinline]] void* operator new(size_t bytes) {
  void* memory = bytes == failing_bytes ? nullptr : std::malloc(bytes ? bytes : 1);
  if (!memory) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  return std::malloc(bytes ? bytes : 1);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace {

using Vector = std::vector<double>;
using Rows = std::vector<Vector>;

std::atomic<int> failures{0};

void expect(bool holds, const std::string& what) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
}

bool is_close(double actual, double expected, double tolerance) {
  return std::abs(actual - expected) <= tolerance * (1 + std::abs(expected));
}

// -------------------------------------------------------------------------- activations in memory

enum class Layout { matrix, channels_last, channels_first, padded };

// An array with gaps or without, and the description of it that the core takes.
struct Array {
  int32_t dtype;
  int64_t samples, positions, units;
  std::vector<uint8_t> bytes;
  moda_activation description{};

  Array(int32_t dtype, Layout layout, int64_t samples, int64_t units, bool non_negative)
      : dtype(dtype), samples(samples), positions(layout == Layout::matrix ? 1 : 6), units(units) {
    // A map of 2 x 3 positions.
    const bool is_map = layout != Layout::matrix, is_first = layout == Layout::channels_first;
    const int64_t gap = layout == Layout::padded ? 3 : 0;
    const int64_t unit_stride = is_first ? 6 : 1, step = is_first ? 1 : units + gap;
    const int64_t sample_stride = is_first ? 6 * units : positions * (units + gap);
    bytes.resize(samples * sample_stride * element_size());
    description = {bytes.data(), dtype, non_negative, samples, units, unit_stride, sample_stride,
                   {1, is_map ? 2 : 1, is_map ? 3 : 1},
                   {0, is_map ? 3 * step : 0, is_map ? step : 0}};
  }

  int64_t element_size() const {
    return dtype == MODA_FLOAT64 ? 8 : dtype == MODA_FLOAT32 ? 4 : 2;
  }

  uint8_t* at(int64_t sample, int64_t position, int64_t unit) {
    const moda_activation& d = description;
    const int64_t step = d.position_strides[2];
    return bytes.data() + element_size() * (sample * d.sample_stride + position * step +
                                            unit * d.unit_stride);
  }

  double get(int64_t sample, int64_t position, int64_t unit) {
    const uint8_t* place = at(sample, position, unit);
    switch (dtype) {
      case MODA_FLOAT64: return *reinterpret_cast<const double*>(place);
      case MODA_FLOAT32: return *reinterpret_cast<const float*>(place);
      case MODA_FLOAT16: return float16(place);
      default: return bfloat16(place);
    }
  }

  // Halves are set by their bits, to what a small integer over eight is.
  void set(int64_t sample, int64_t position, int64_t unit, double value) {
    uint8_t* place = at(sample, position, unit);
    if (dtype == MODA_FLOAT64) {
      *reinterpret_cast<double*>(place) = value;
    } else if (dtype == MODA_FLOAT32) {
      *reinterpret_cast<float*>(place) = static_cast<float>(value);
    } else {
      *reinterpret_cast<uint16_t*>(place) = half_bits(value);
    }
  }

  uint16_t half_bits(double value) const {
    const int mantissa = dtype == MODA_FLOAT16 ? 10 : 7, bias = dtype == MODA_FLOAT16 ? 15 : 127;
    if (value == 0) return 0;
    int exponent;
    const double fraction = std::frexp(std::abs(value), &exponent);  // in [0.5, 1)
    const uint16_t sign = value < 0 ? 0x8000 : 0;
    const int bits = static_cast<int>(std::ldexp(2 * fraction - 1, mantissa));
    return static_cast<uint16_t>(sign | ((exponent - 1 + bias) << mantissa) | bits);
  }

  double from_half(const uint8_t* place, int mantissa, int bias) const {
    const uint16_t bits = *reinterpret_cast<const uint16_t*>(place);
    const int exponent = (bits & 0x7fff) >> mantissa;
    const double fraction = bits & ((1 << mantissa) - 1);
    const double sign = bits & 0x8000 ? -1 : 1;
    if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - mantissa);
    return sign * std::ldexp(1 + std::ldexp(fraction, -mantissa), exponent - bias);
  }
  double float16(const uint8_t* place) const { return from_half(place, 10, 15); }
  double bfloat16(const uint8_t* place) const { return from_half(place, 7, 127); }
};

struct Problem {
  std::vector<Array> arrays;
  std::vector<int32_t> labels;
  int64_t classes;

  moda_batch batch() const {
    return {labels.data(), static_cast<int64_t>(labels.size()), classes};
  }
  std::vector<moda_activation> descriptions() const {
    std::vector<moda_activation> result;
    for (const Array& array : arrays) result.push_back(array.description);
    return result;
  }
  int64_t units() const {
    int64_t sum = 0;
    for (const Array& array : arrays) sum += array.units;
    return sum;
  }
};

void fill(Array& array, std::mt19937& random) {
  std::uniform_int_distribution<int> eighths(-15, 15);
  std::bernoulli_distribution is_zero_row(0.1), is_zero(0.3);
  for (int64_t b = 0; b < array.samples; ++b) {
    const bool zero_row = is_zero_row(random);
    for (int64_t p = 0; p < array.positions; ++p)
      for (int64_t d = 0; d < array.units; ++d) {
        double value = eighths(random) / 8.0;
        if (array.description.non_negative) value = std::abs(value);
        array.set(b, p, d, zero_row || is_zero(random) ? 0 : value);
      }
  }
}

Problem draw(std::mt19937& random, const std::vector<int32_t>& dtypes) {
  auto between = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  Problem problem;
  const int64_t samples = between(1, 20);
  problem.classes = between(1, 6);
  for (int64_t b = 0; b < samples; ++b)
    problem.labels.push_back(between(-1, static_cast<int>(problem.classes)));
  const int count = between(1, 4);
  for (int a = 0; a < count; ++a) {
    const int32_t dtype = dtypes[between(0, static_cast<int>(dtypes.size()) - 1)];
    const Layout layout = static_cast<Layout>(between(0, 3));
    problem.arrays.emplace_back(dtype, layout, samples, between(1, 70), between(0, 1) == 1);
    fill(problem.arrays.back(), random);
    problem.arrays.back().description.data = problem.arrays.back().bytes.data();
  }
  for (Array& array : problem.arrays) array.description.data = array.bytes.data();
  return problem;
}

// ---------------------------------------------------------------------------------- the oracle

Rows vectors_of(Array& array) {
  Rows rows(array.samples, Vector(array.units, 0));
  for (int64_t b = 0; b < array.samples; ++b)
    for (int64_t d = 0; d < array.units; ++d)
      for (int64_t p = 0; p < array.positions; ++p)
        rows[b][d] += std::abs(array.get(b, p, d)) / array.positions;
  return rows;
}

double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

double cosine(const Vector& a, const Vector& b) {
  const double norms = std::sqrt(dot(a, a)) * std::sqrt(dot(b, b));
  return norms == 0 ? 0 : dot(a, b) / norms;
}

struct Mean {
  double sum = 0;
  int64_t count = 0;
  void add(double value) { sum += value, ++count; }
  void add(const Mean& mean) {
    if (mean.count) add(mean.value());
  }
  double value() const { return count ? sum / count : 0; }
};

// The pairs with one sample of class c and one of class d.
Mean similarity(const Rows& rows, const Problem& problem, int c, int d) {
  Mean mean;
  for (size_t i = 0; i < rows.size(); ++i)
    for (size_t j = 0; j < rows.size(); ++j) {
      const bool is_pair = problem.labels[i] == c && problem.labels[j] == d && (c != d || i < j);
      if (is_pair) mean.add(cosine(rows[i], rows[j]));
    }
  return mean;
}

void merge(Mean& into, const Mean& mean, bool averages_pairs) {
  if (!averages_pairs) return into.add(mean);
  into.sum += mean.sum;
  into.count += mean.count;
}

Vector objectives(const Rows& rows, const Problem& problem, const moda_options& options) {
  const bool pairs = options.averaging == MODA_AVERAGE_PAIRS;
  Mean same, different, length;
  for (int c = 0; c < problem.classes; ++c) {
    merge(same, similarity(rows, problem, c, c), pairs);
    for (int d = c + 1; d < problem.classes; ++d)
      merge(different, similarity(rows, problem, c, d), pairs);
    Mean own;
    for (size_t i = 0; i < rows.size(); ++i) {
      double l1 = 0;
      for (double value : rows[i]) l1 += value;
      if (problem.labels[i] == c) own.add(l1);
    }
    merge(length, own, pairs);
  }
  const double divisor = options.unit_divides ? static_cast<double>(rows[0].size()) : 1;
  return {same.count ? 1 - same.value() : 0, different.value(), length.value() / divisor};
}

// ------------------------------------------------------------------------------------- the core

template <class R>
struct Run {
  std::vector<R> normalized, totals, vectors;
  std::vector<double> inverse_norms, values;
  std::vector<Array> gradients;

  moda_saved saved() { return {normalized.data(), inverse_norms.data(), totals.data()}; }
};

template <class R>
Run<R> run(Problem& problem, const moda_options& options, const Vector& upstream) {
  const std::vector<moda_activation> descriptions = problem.descriptions();
  const int64_t count = static_cast<int64_t>(descriptions.size());
  const int64_t samples = static_cast<int64_t>(problem.labels.size());
  const moda_batch batch = problem.batch();
  Run<R> result;
  result.normalized.resize(problem.units() * samples);
  result.vectors.assign(problem.units() * samples, R(7));  // what was there must not matter
  result.totals.resize(problem.units());
  result.inverse_norms.resize(count * samples);
  result.values.resize(count * MODA_OBJECTIVES);
  const moda_saved saved = result.saved();
  int status = moda_objectives_forward(descriptions.data(), count, &batch, &options, &saved,
                                       result.values.data());
  expect(status == MODA_OK, "forward returns MODA_OK");
  for (const Array& array : problem.arrays) result.gradients.push_back(array);
  std::vector<moda_activation> places;
  std::vector<const moda_activation*> pointers;
  for (Array& gradient : result.gradients) {
    gradient.description.data = gradient.bytes.data();
    places.push_back(gradient.description);
  }
  for (const moda_activation& place : places) pointers.push_back(&place);
  status = moda_objectives_backward(descriptions.data(), count, &batch, &options, &saved,
                                    upstream.data(), result.vectors.data(), pointers.data());
  expect(status == MODA_OK, "backward returns MODA_OK");
  return result;
}

moda_options options_of(int seed) { return {seed % 2, seed / 2 % 2}; }

Vector some_upstream(size_t count) {
  Vector upstream(count * MODA_OBJECTIVES);
  for (size_t i = 0; i < upstream.size(); ++i) upstream[i] = 0.5 + 0.25 * (i % 5);
  return upstream;
}

void test_values(int seed) {
  std::mt19937 random(seed);
  Problem problem = draw(random, {seed % 4});
  const moda_options options = options_of(seed);
  const Vector upstream = some_upstream(problem.arrays.size());
  const bool is_double = seed % 4 == MODA_FLOAT64;
  const Vector values = is_double ? run<double>(problem, options, upstream).values
                                  : run<float>(problem, options, upstream).values;
  for (size_t a = 0; a < problem.arrays.size(); ++a) {
    const Vector expected = objectives(vectors_of(problem.arrays[a]), problem, options);
    for (int k = 0; k < MODA_OBJECTIVES; ++k)
      expect(is_close(values[a * MODA_OBJECTIVES + k], expected[k], is_double ? 1e-12 : 2e-6),
             "objective " + std::to_string(k) + " of seed " + std::to_string(seed));
  }
}

// The sum of the upstream times the objectives of one activation, at a point moved along a
// direction; elements that are zero stay, for there the gradient is 0 by definition.
double at(Array array, const Problem& problem, const moda_options& options, const double* upstream,
          const std::function<double(int64_t)>& direction, double step) {
  int64_t i = 0;
  for (int64_t b = 0; b < array.samples; ++b)
    for (int64_t p = 0; p < array.positions; ++p)
      for (int64_t d = 0; d < array.units; ++d, ++i) {
        const double value = array.get(b, p, d);
        if (value != 0) array.set(b, p, d, value + step * direction(i));
      }
  const Vector values = objectives(vectors_of(array), problem, options);
  return values[0] * upstream[0] + values[1] * upstream[1] + values[2] * upstream[2];
}

void test_gradients(int seed) {
  std::mt19937 random(seed);
  Problem problem = draw(random, {MODA_FLOAT64});
  const moda_options options = options_of(seed);
  const Vector upstream = some_upstream(problem.arrays.size());
  Run<double> result = run<double>(problem, options, upstream);
  auto direction = [](int64_t i) { return std::sin(1.0 + 0.7 * i); };
  for (size_t a = 0; a < problem.arrays.size(); ++a) {
    Array& array = problem.arrays[a];
    const double* own = upstream.data() + a * MODA_OBJECTIVES;
    const double numeric = (at(array, problem, options, own, direction, 1e-6) -
                            at(array, problem, options, own, direction, -1e-6)) /
                           2e-6;
    double analytic = 0;
    int64_t i = 0;
    for (int64_t b = 0; b < array.samples; ++b)
      for (int64_t p = 0; p < array.positions; ++p)
        for (int64_t d = 0; d < array.units; ++d, ++i)
          if (array.get(b, p, d) != 0)
            analytic += result.gradients[a].get(b, p, d) * direction(i);
    expect(is_close(analytic, numeric, 1e-6), "gradient of seed " + std::to_string(seed));
  }
}

// Well over the size from which the pool works.
Problem large_problem() {
  std::mt19937 random(7);
  Problem problem;
  problem.classes = 5;
  const int64_t samples = 64;
  for (int64_t b = 0; b < samples; ++b)
    problem.labels.push_back(static_cast<int32_t>(b * 7 % 6) - (b % 13 == 0));
  for (int64_t units : {1500, 700, 64}) {
    problem.arrays.emplace_back(MODA_FLOAT32, Layout::channels_last, samples, units, false);
    fill(problem.arrays.back(), random);
  }
  for (Array& array : problem.arrays) array.description.data = array.bytes.data();
  return problem;
}

void test_threads_change_nothing() {
  Problem problem = large_problem();
  const Vector upstream = some_upstream(problem.arrays.size());
  moda_set_threads(1);
  const Run<float> expected = run<float>(problem, {0, 1}, upstream);
  for (int threads : {2, 3, 7}) {
    moda_set_threads(threads);
    const Run<float> actual = run<float>(problem, {0, 1}, upstream);
    expect(actual.values == expected.values, "objectives of any number of threads");
    expect(actual.vectors == expected.vectors, "vectors of any number of threads");
    for (size_t a = 0; a < problem.arrays.size(); ++a)
      expect(actual.gradients[a].bytes == expected.gradients[a].bytes, "gradients likewise");
  }
}

void test_callers_at_the_same_time() {
  moda_set_threads(3);
  Problem problem = large_problem();
  const Vector upstream = some_upstream(problem.arrays.size());
  const Vector expected = run<float>(problem, {1, 0}, upstream).values;
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i)
    callers.emplace_back([&, i] {
      Problem own = large_problem();
      for (int round = 0; round < 3; ++round)
        expect(run<float>(own, {1, 0}, upstream).values == expected, "values of each caller");
      if (i == 0) moda_set_threads(2);
    });
  for (std::thread& caller : callers) caller.join();
}

void test_memory_that_runs_out_in_a_task_is_told() {
  Problem problem = large_problem();
  const std::vector<moda_activation> descriptions = problem.descriptions();
  const int64_t count = static_cast<int64_t>(descriptions.size()), samples = 64;
  const moda_batch batch = problem.batch();
  const moda_options options{0, 1};
  std::vector<float> normalized(problem.units() * samples), totals(problem.units());
  Vector norms(count * samples), values(count * MODA_OBJECTIVES);
  const moda_saved saved{normalized.data(), norms.data(), totals.data()};
  for (int threads : {1, 3}) {
    moda_set_threads(threads);
    failing_bytes = 1500 * sizeof(float);  // what a task needs for the widest activation
    const int status = moda_objectives_forward(descriptions.data(), count, &batch, &options,
                                               &saved, values.data());
    failing_bytes = 0;
    expect(status == MODA_OUT_OF_MEMORY, "memory that runs out in a task");
  }
}

void test_statistics(int seed) {
  std::mt19937 random(seed);
  Problem problem = draw(random, {MODA_FLOAT64});
  const std::vector<moda_activation> descriptions = problem.descriptions();
  const auto activations = static_cast<int64_t>(descriptions.size());
  const moda_batch batch = problem.batch();
  const int64_t classes = problem.classes, samples = batch.samples;
  int64_t units = 0;
  for (const Array& array : problem.arrays) units += array.units;
  // What was in the results must not matter.
  Vector normalized(samples * units), norms(samples * activations), sums(classes * units, 7);
  Vector counts(classes, 7), nonzero(classes * activations, 7), l1(classes * activations, 7);
  const moda_saved saved{normalized.data(), norms.data(), nullptr};
  expect(moda_class_statistics_forward(descriptions.data(), activations, &batch, &saved,
                                       sums.data(), counts.data(), nonzero.data(),
                                       l1.data()) == MODA_OK,
         "statistics return MODA_OK");
  int64_t first = 0;
  for (int64_t a = 0; a < activations; ++a) {
    const Rows rows = vectors_of(problem.arrays[a]);
    const int64_t own = problem.arrays[a].units;
    for (int64_t c = 0; c < classes; ++c) {
      Vector sum(own, 0);
      double count = 0, zeros = 0, length = 0;
      for (size_t b = 0; b < rows.size(); ++b) {
        if (problem.labels[b] != c) continue;
        const double norm = std::sqrt(dot(rows[b], rows[b]));
        ++count;
        zeros += norm == 0;
        for (int64_t d = 0; d < own; ++d) {
          sum[d] += norm == 0 ? 0 : rows[b][d] / norm;
          length += rows[b][d];
        }
      }
      const int64_t place = c * activations + a;
      expect(counts[c] == count && nonzero[place] == count - zeros &&
                 is_close(l1[place], length, 1e-12),
             "counts of seed " + std::to_string(seed));
      for (int64_t d = 0; d < own; ++d)
        expect(is_close(sums[c * units + first + d], sum[d], 1e-12), "sums of class statistics");
    }
    first += own;
  }
}

void test_frequency(int seed) {
  std::mt19937 random(seed);
  Problem problem = draw(random, {seed % 4});
  const std::vector<moda_activation> descriptions = problem.descriptions();
  const moda_batch batch = problem.batch();
  const size_t activations = descriptions.size();
  const Vector epsilons(activations, seed % 3 * 0.5);
  std::vector<std::vector<int32_t>> counts;
  std::vector<int32_t*> pointers;
  for (const Array& array : problem.arrays) counts.emplace_back(problem.classes * array.units, 0);
  for (auto& count : counts) pointers.push_back(count.data());
  std::vector<int32_t> not_finite(activations, 0);
  expect(moda_activation_frequency(descriptions.data(), static_cast<int64_t>(activations), &batch,
                                   epsilons.data(), pointers.data(),
                                   not_finite.data()) == MODA_OK,
         "frequency returns MODA_OK");
  for (size_t a = 0; a < activations; ++a) {
    Array& array = problem.arrays[a];
    std::vector<int32_t> expected(problem.classes * array.units, 0);
    for (int64_t b = 0; b < array.samples; ++b)
      for (int64_t d = 0; d < array.units; ++d) {
        bool active = false;
        for (int64_t p = 0; p < array.positions; ++p)
          active |= std::abs(array.get(b, p, d)) > epsilons[a];
        const int32_t label = problem.labels[b];
        if (active && label >= 0 && label < problem.classes) ++expected[label * array.units + d];
      }
    expect(counts[a] == expected, "frequency of seed " + std::to_string(seed));
    expect(not_finite[a] == 0, "all is finite");
  }
}

// ------------------------------------------------------------------------------------ bad input

// The status of a forward pass over a small good problem that `spoil` has changed.
int status_of(const std::function<void(moda_activation&, moda_batch&, moda_saved&)>& spoil) {
  std::vector<float> data(12, 1), normalized(12), totals(4);
  std::vector<double> norms(3), values(3);
  std::vector<int32_t> labels{0, 1, 1};
  moda_activation activation{data.data(), MODA_FLOAT32, 1, 3, 4, 1, 4, {1, 1, 1}, {0, 0, 0}};
  moda_batch batch{labels.data(), 3, 2};
  moda_saved saved{normalized.data(), norms.data(), totals.data()};
  const moda_options options{0, 1};
  spoil(activation, batch, saved);
  return moda_objectives_forward(&activation, 1, &batch, &options, &saved, values.data());
}

// The status of a backward pass over a small good problem whose gradient `spoil` has changed.
int backward_status(const std::function<void(moda_activation&)>& spoil) {
  std::vector<float> data(12, 1), normalized(12), totals(4), vectors(12), written(12);
  std::vector<double> norms(3), upstream(3, 1);
  const std::vector<int32_t> labels{0, 1, 1};
  const moda_activation activation{data.data(), MODA_FLOAT32, 0, 3, 4, 1, 4, {1, 1, 1}, {0, 0, 0}};
  const moda_batch batch{labels.data(), 3, 2};
  const moda_saved saved{normalized.data(), norms.data(), totals.data()};
  const moda_options options{0, 1};
  moda_activation gradient = activation;
  gradient.data = written.data();
  spoil(gradient);
  const moda_activation* place = &gradient;
  return moda_objectives_backward(&activation, 1, &batch, &options, &saved, upstream.data(),
                                  vectors.data(), &place);
}

int frequency_status(const std::vector<int32_t>& labels) {
  const std::vector<float> data(12, 1);
  std::vector<int32_t> counts(8);
  int32_t* output = counts.data();
  const double epsilon = 0;
  const moda_activation activation{data.data(), MODA_FLOAT32, 1, 3, 4, 1, 4, {1, 1, 1}, {0, 0, 0}};
  const moda_batch batch{labels.data(), 3, 2};
  return moda_activation_frequency(&activation, 1, &batch, &epsilon, &output, nullptr);
}

void test_bad_input() {
  using A = moda_activation&;
  using B = moda_batch&;
  using S = moda_saved&;
  const std::vector<int32_t> too_high{0, 1, 3}, too_low{0, -2, 1};
  expect(status_of([](A, B, S) {}) == MODA_OK, "a good problem");
  const std::vector<std::function<void(A, B, S)>> spoilers{
      [](A a, B, S) { a.data = nullptr; },
      [](A a, B, S) { a.dtype = 4; },
      [](A a, B, S) { a.dtype = -1; },
      [](A a, B, S) { a.units = 0; },
      [](A a, B, S) { a.units = -4; },
      [](A a, B, S) { a.positions[1] = a.positions[2] = -1; },
      [](A a, B, S) { a.positions[1] = 0; },
      [](A a, B, S) { a.positions[0] = a.positions[1] = INT64_MAX; },
      [](A a, B b, S) { a.samples = b.samples = 0, a.units = INT64_MAX; },
      [](A a, B, S) { a.samples = 2; },
      [](A, B b, S) { b.samples = 2; },
      [](A, B b, S) { b.labels = nullptr; },
      [](A, B b, S) { b.samples = -1; },
      [](A, B b, S) { b.classes = 0; },
      [](A, B b, S) { b.classes = int64_t{1} << 31; },
      [](A, B, S s) { s.normalized = nullptr; },
      [](A, B, S s) { s.inverse_norms = nullptr; },
      [](A, B, S s) { s.totals = nullptr; },
  };
  for (size_t i = 0; i < spoilers.size(); ++i)
    expect(status_of(spoilers[i]) == MODA_INVALID_ARGUMENT, "bad input " + std::to_string(i));
  expect(backward_status([](A) {}) == MODA_OK, "a good gradient");
  const std::vector<std::function<void(A)>> gradient_spoilers{
      [](A a) { a.data = nullptr; },
      [](A a) { a.dtype = MODA_FLOAT16; },
      [](A a) { a.samples = 2; },
      [](A a) { a.units = 3; },
      [](A a) { a.positions[2] = 2; },
  };
  for (size_t i = 0; i < gradient_spoilers.size(); ++i)
    expect(backward_status(gradient_spoilers[i]) == MODA_INVALID_ARGUMENT,
           "bad gradient " + std::to_string(i));
  for (const auto* labels : {&too_high, &too_low})
    expect(status_of([&](A, B b, S) { b.labels = labels->data(); }) == MODA_INVALID_LABEL,
           "a label out of range");
  expect(frequency_status(too_high) == MODA_INVALID_LABEL, "a label out of range, frequency");
  expect(frequency_status(too_low) == MODA_INVALID_LABEL, "a label out of range, frequency");
  expect(moda_objectives_forward(nullptr, 1, nullptr, nullptr, nullptr, nullptr) ==
             MODA_INVALID_ARGUMENT,
         "null everywhere, forward");
  expect(moda_objectives_backward(nullptr, 1, nullptr, nullptr, nullptr, nullptr, nullptr,
                                  nullptr) == MODA_INVALID_ARGUMENT,
         "null everywhere, backward");
  expect(moda_class_statistics_forward(nullptr, 1, nullptr, nullptr, nullptr, nullptr, nullptr,
                                       nullptr) == MODA_INVALID_ARGUMENT,
         "null everywhere, statistics");
  expect(moda_class_statistics_backward(nullptr, 1, nullptr, nullptr, nullptr, nullptr, nullptr,
                                        nullptr) == MODA_INVALID_ARGUMENT,
         "null everywhere, statistics' gradient");
  expect(moda_activation_frequency(nullptr, 1, nullptr, nullptr, nullptr, nullptr) ==
             MODA_INVALID_ARGUMENT,
         "null everywhere, frequency");
}

}  // namespace

int main() {
  for (int seed = 0; seed < 200; ++seed) {
    test_values(seed);
    test_gradients(seed);
    test_statistics(seed);
    test_frequency(seed);
  }
  test_threads_change_nothing();
  test_callers_at_the_same_time();
  test_memory_that_runs_out_in_a_task_is_told();
  test_bad_input();
  if (failures == 0) std::puts("all of the core's tests passed");
  return failures == 0 ? 0 : 1;
}
