// The operations: what runs in which order, and in how many tasks. Chunks depend on the shapes
// alone, never on the number of threads, so results do not either.
#include "moda_core.h"

#include <algorithm>
#include <new>
#include <numeric>
#include <vector>

#include "arguments.h"
#include "class_order.h"
#include "interface.h"
#include "kernels.h"
#include "objectives.h"
#include "thread_pool.h"

namespace moda {
namespace {

constexpr int64_t kTaskBytes = 256 << 10;
constexpr int64_t kSliceUnits = 512;

int64_t element_bytes(int32_t dtype) {
  return dtype == MODA_FLOAT64 ? 8 : dtype == MODA_FLOAT32 ? 4 : 2;
}

// Where the part of each activation starts in a buffer of `scale` elements for every unit.
std::vector<int64_t> unit_offsets(const moda_activation* activations, int64_t count) {
  std::vector<int64_t> offsets(count + 1, 0);
  for (int64_t a = 0; a < count; ++a) offsets[a + 1] = offsets[a] + activations[a].units;
  return offsets;
}

// A piece of one activation: samples or units [first, last), or class `first`.
struct Task {
  int64_t activation, first, last;
};

std::vector<Task> split(const moda_activation* activations, int64_t count,
                        int64_t (*extent)(const moda_activation&, int64_t),
                        int64_t (*grain)(const moda_activation&), int64_t samples) {
  std::vector<Task> tasks;
  for (int64_t a = 0; a < count; ++a) {
    const int64_t end = extent(activations[a], samples), step = grain(activations[a]);
    for (int64_t first = 0; first < end; first += step)
      tasks.push_back({a, first, std::min(first + step, end)});
  }
  return tasks;
}

int64_t sample_bytes(const moda_activation& a) {
  return position_count(a) * a.units * element_bytes(a.dtype);
}

std::vector<Task> split_samples(const moda_activation* activations, int64_t count,
                                int64_t samples) {
  return split(
      activations, count, [](const moda_activation&, int64_t n) { return n; },
      [](const moda_activation& a) {
        return std::max<int64_t>(1, kTaskBytes / sample_bytes(a));
      },
      samples);
}

std::vector<Task> split_units(const moda_activation* activations, int64_t count) {
  return split(
      activations, count, [](const moda_activation& a, int64_t) { return a.units; },
      [](const moda_activation&) { return kSliceUnits; }, 0);
}

int64_t bytes_of(const moda_activation* activations, int64_t count, int64_t samples) {
  return std::accumulate(
      activations, activations + count, int64_t{0},
      [=](int64_t sum, const moda_activation& a) { return sum + samples * sample_bytes(a); });
}

// ----------------------------------------------------------------------------------- one call

template <class R>
class Call {
 public:
  Call(const moda_activation* activations, int64_t count, const moda_batch& batch,
       const moda_saved& saved)
      : activations_(activations),
        count_(count),
        batch_(batch),
        order_(batch),
        offsets_(unit_offsets(activations, count)),
        bytes_(bytes_of(activations, count, batch.samples)),
        normalized_(static_cast<R*>(saved.normalized)),
        totals_(static_cast<R*>(saved.totals)),
        inverse_norms_(saved.inverse_norms) {}

  // Unit vectors, inverse norms; L1 norms (activations, samples).
  std::vector<double> normalize() {
    std::vector<double> l1(count_ * batch_.samples);
    for_tasks(split_samples(activations_, count_, batch_.samples), [&](const Task& task) {
      const moda_activation& activation = activations_[task.activation];
      std::vector<R> scratch(activation.units);
      const int64_t rows = task.activation * batch_.samples;
      kernels<R>().normalize(activation, task.first, task.last, normalized(task.activation),
                             inverse_norms_ + rows, l1.data() + rows, scratch.data());
    });
    return l1;
  }

  void objectives(const moda_options& options, double* results) {
    const std::vector<double> l1 = normalize();
    const std::vector<Task> tasks = split_units(activations_, count_);
    const int64_t present = order_.present();
    // For each task: the squared norm of its part of every class sum, then of T.
    std::vector<double> partial(tasks.size() * (present + 1));
    for_each(tasks.size(), [&](int64_t i) {
      sum_slice(tasks[i], options, partial.data() + i * (present + 1));
    });
    for (int64_t a = 0; a < count_; ++a) {
      ClassTotals totals = totals_of_samples(a, l1);
      for (size_t i = 0; i < tasks.size(); ++i) {
        if (tasks[i].activation != a) continue;
        const double* part = partial.data() + i * (present + 1);
        for (int64_t k = 0; k < present; ++k) totals.squared_norms[k] += part[k];
        totals.total_squared_norm += part[present];
      }
      objectives_of(totals, order_, options, activations_[a].units,
                    results + a * MODA_OBJECTIVES);
    }
  }

  void gradients(const moda_options& options, const double* upstream, R* vectors,
                 const moda_activation* const* outputs) {
    std::vector<ClassGradients> weights;
    for (int64_t a = 0; a < count_; ++a)
      weights.push_back(class_gradients(order_, options, activations_[a].units,
                                        upstream + a * MODA_OBJECTIVES));
    clear_samples_of_no_class(vectors);
    for_tasks(split_classes(), [&](const Task& task) {
      class_gradient(task.activation, task.first, weights[task.activation], vectors);
    });
    write(vectors, outputs);
  }

  void statistics(R* sums, R* counts, R* nonzero, R* l1) {
    const std::vector<double> norms = normalize();
    std::fill_n(sums, batch_.classes * offsets_[count_], R(0));
    std::fill_n(counts, batch_.classes, R(0));
    for (R* columns : {nonzero, l1}) std::fill_n(columns, batch_.classes * count_, R(0));
    for (int64_t k = 0; k < order_.present(); ++k)
      counts[order_.classes[k]] = static_cast<R>(order_.count(k));
    for (int64_t a = 0; a < count_; ++a) {
      const ClassTotals totals = totals_of_samples(a, norms);
      for (int64_t k = 0; k < order_.present(); ++k) {
        const int64_t place = order_.classes[k] * count_ + a;
        nonzero[place] = static_cast<R>(totals.nonzero[k]);
        l1[place] = static_cast<R>(totals.l1[k]);
      }
    }
    for_tasks(split_classes(), [&](const Task& task) {
      const int64_t a = task.activation, units = activations_[a].units;
      std::vector<double> sum(units);
      sum_class(a, task.first, 0, units, sum.data());
      R* row = sums + order_.classes[task.first] * offsets_[count_] + offsets_[a];
      for (int64_t j = 0; j < units; ++j) row[j] = static_cast<R>(sum[j]);
    });
  }

  void statistics_gradients(const R* sums_gradient, const R* l1_gradient, R* vectors,
                            const moda_activation* const* outputs) {
    clear_samples_of_no_class(vectors);
    for_tasks(split_classes(), [&](const Task& task) {
      const int64_t a = task.activation, label = order_.classes[task.first];
      vector_gradients(a, task.first, sums_gradient + label * offsets_[count_] + offsets_[a],
                       l1_gradient[label * count_ + a], vectors);
    });
    write(vectors, outputs);
  }

 private:
  R* normalized(int64_t activation) { return normalized_ + offsets_[activation] * batch_.samples; }

  // One task for each class of each activation.
  std::vector<Task> split_classes() const {
    std::vector<Task> tasks;
    for (int64_t a = 0; a < count_; ++a)
      for (int64_t k = 0; k < order_.present(); ++k) tasks.push_back({a, k, k + 1});
    return tasks;
  }

  template <class F>
  void for_each(int64_t tasks, const F& body) {
    parallel_for(tasks, bytes_, body);
  }

  template <class F>
  void for_tasks(const std::vector<Task>& tasks, const F& body) {
    for_each(static_cast<int64_t>(tasks.size()), [&](int64_t i) { body(tasks[i]); });
  }

  ClassTotals totals_of_samples(int64_t activation, const std::vector<double>& l1) const {
    ClassTotals totals;
    totals.squared_norms.assign(order_.present(), 0);
    const int64_t rows = activation * batch_.samples;
    for (int64_t k = 0; k < order_.present(); ++k) {
      double norms = 0, nonzero = 0;
      for (int64_t i = 0; i < order_.count(k); ++i) {
        const int64_t sample = rows + order_.of_class(k)[i];
        norms += l1[sample];
        nonzero += inverse_norms_[sample] != 0;
      }
      totals.l1.push_back(norms);
      totals.nonzero.push_back(nonzero);
    }
    return totals;
  }

  void sum_class(int64_t activation, int64_t k, int64_t begin, int64_t end, double* sums) {
    kernels<R>().sum_rows(normalized(activation), activations_[activation].units,
                          order_.of_class(k), order_.count(k), begin, end, sums);
  }

  void sum_slice(const Task& task, const moda_options& options, double* partial) {
    const int64_t width = task.last - task.first;
    std::vector<double> sums(width), total(width, 0);
    for (int64_t k = 0; k < order_.present(); ++k) {
      sum_class(task.activation, k, task.first, task.last, sums.data());
      const double weight = dispersion_weight(order_, options, k);
      double squares = 0;
      for (int64_t j = 0; j < width; ++j) {
        squares += sums[j] * sums[j];
        total[j] += weight * sums[j];
      }
      partial[k] = squares;
    }
    R* saved = totals_ + offsets_[task.activation] + task.first;
    double squares = 0;
    for (int64_t j = 0; j < width; ++j) {
      squares += total[j] * total[j];
      saved[j] = static_cast<R>(total[j]);
    }
    partial[order_.present()] = squares;
  }

  void class_gradient(int64_t activation, int64_t k, const ClassGradients& weights, R* vectors) {
    const int64_t units = activations_[activation].units;
    std::vector<double> sums(units);
    std::vector<R> direction(units);
    sum_class(activation, k, 0, units, sums.data());
    const R* total = totals_ + offsets_[activation];
    for (int64_t j = 0; j < units; ++j)
      direction[j] = static_cast<R>(weights.own[k] * sums[j] + weights.shared[k] * total[j]);
    vector_gradients(activation, k, direction.data(), weights.l1[k], vectors);
  }

  void vector_gradients(int64_t activation, int64_t k, const R* direction, double l1, R* vectors) {
    const moda_activation& a = activations_[activation];
    R* out = vectors + offsets_[activation] * batch_.samples;
    for (int64_t i = 0; i < order_.count(k); ++i) {
      const int64_t sample = order_.of_class(k)[i];
      kernels<R>().vector_gradient(normalized(activation) + sample * a.units, direction, a.units,
                                   inverse_norms_[activation * batch_.samples + sample], l1,
                                   position_count(a), out + sample * a.units);
    }
  }

  void clear_samples_of_no_class(R* vectors) {
    if (static_cast<int64_t>(order_.samples.size()) == batch_.samples) return;
    std::fill_n(vectors, offsets_[count_] * batch_.samples, R(0));
  }

  void write(const R* vectors, const moda_activation* const* outputs) {
    if (!outputs) return;
    for_tasks(split_samples(activations_, count_, batch_.samples), [&](const Task& task) {
      const int64_t a = task.activation;
      if (outputs[a])
        kernels<R>().write_gradient(activations_[a], *outputs[a],
                                    vectors + offsets_[a] * batch_.samples, task.first, task.last);
    });
  }

  const moda_activation* activations_;
  const int64_t count_;
  const moda_batch batch_;
  const ClassOrder order_;
  const std::vector<int64_t> offsets_;
  const int64_t bytes_;
  R* const normalized_;
  R* const totals_;
  double* const inverse_norms_;
};

void count_active(const moda_activation* activations, int64_t count, const moda_batch& batch,
                  const double* epsilons, int32_t* const* counts, int32_t* not_finite) {
  check_labels(batch);
  const std::vector<int64_t> offsets = unit_offsets(activations, count);
  const int64_t bytes = bytes_of(activations, count, batch.samples);
  std::vector<uint8_t> active(offsets[count] * batch.samples);
  const std::vector<Task> tasks = split_samples(activations, count, batch.samples);
  std::vector<int64_t> found(tasks.size());
  parallel_for(static_cast<int64_t>(tasks.size()), bytes, [&](int64_t i) {
    const Task& task = tasks[i];
    const moda_activation& a = activations[task.activation];
    std::vector<double> scratch(a.units);
    found[i] = activity_kernels().find_active(
        a, epsilons[task.activation], task.first, task.last,
        active.data() + offsets[task.activation] * batch.samples, scratch.data());
  });
  for (size_t i = 0; not_finite && i < tasks.size(); ++i)
    not_finite[tasks[i].activation] += static_cast<int32_t>(found[i]);
  const std::vector<Task> slices = split_units(activations, count);
  parallel_for(static_cast<int64_t>(slices.size()), bytes, [&](int64_t i) {
    const Task& slice = slices[i];
    const int64_t units = activations[slice.activation].units;
    const uint8_t* rows = active.data() + offsets[slice.activation] * batch.samples + slice.first;
    for (int64_t sample = 0; sample < batch.samples; ++sample) {
      const int32_t label = batch.labels[sample];
      if (!is_class(batch, label)) continue;
      activity_kernels().add_active(rows + sample * units, slice.last - slice.first,
                                    counts[slice.activation] + label * units + slice.first);
    }
  });
}

template <class F>
int guarded(const F& body) {
  try {
    body();
    return MODA_OK;
  } catch (const std::bad_alloc&) {
    return MODA_OUT_OF_MEMORY;
  } catch (const InvalidLabel&) {
    return MODA_INVALID_LABEL;
  } catch (...) {
    return MODA_INVALID_ARGUMENT;
  }
}

// Calls body with a Call<R> for the R that these activations ask for.
template <class F>
int with_call(const moda_activation* activations, int64_t count, const moda_batch* batch,
              const moda_saved* saved, const F& body) {
  if (!are_activations(activations, count, batch) || !is_room(saved, *batch))
    return MODA_INVALID_ARGUMENT;
  return guarded([&] {
    if (moda_is_double(activations, count)) {
      Call<double> call(activations, count, *batch, *saved);
      body(call, double());
    } else {
      Call<float> call(activations, count, *batch, *saved);
      body(call, float());
    }
  });
}

}  // namespace
}  // namespace moda

extern "C" {

const char* moda_interface(void) { return moda::interface_text().c_str(); }

int moda_is_double(const moda_activation* activations, int64_t count) {
  return std::any_of(activations, activations + count,
                     [](const moda_activation& a) { return a.dtype == MODA_FLOAT64; });
}

int moda_objectives_forward(const moda_activation* activations, int64_t count,
                            const moda_batch* batch, const moda_options* options,
                            const moda_saved* saved, double* objectives) {
  if (!saved || !moda::are_present({options, saved->totals, objectives}))
    return MODA_INVALID_ARGUMENT;
  return moda::with_call(activations, count, batch, saved,
                         [&](auto& call, auto) { call.objectives(*options, objectives); });
}

int moda_objectives_backward(const moda_activation* activations, int64_t count,
                             const moda_batch* batch, const moda_options* options,
                             const moda_saved* saved, const double* upstream, void* vectors,
                             const moda_activation* const* gradients) {
  if (!saved || !moda::are_present({options, saved->totals, upstream}) ||
      !moda::are_gradients(vectors, activations, count, gradients, batch))
    return MODA_INVALID_ARGUMENT;
  return moda::with_call(activations, count, batch, saved, [&](auto& call, auto real) {
    call.gradients(*options, upstream, static_cast<decltype(real)*>(vectors), gradients);
  });
}

int moda_class_statistics_forward(const moda_activation* activations, int64_t count,
                                  const moda_batch* batch, const moda_saved* saved, void* sums,
                                  void* counts, void* nonzero, void* l1) {
  if (!moda::are_present({sums, counts, nonzero, l1})) return MODA_INVALID_ARGUMENT;
  return moda::with_call(activations, count, batch, saved, [&](auto& call, auto real) {
    using R = decltype(real);
    call.statistics(static_cast<R*>(sums), static_cast<R*>(counts), static_cast<R*>(nonzero),
                    static_cast<R*>(l1));
  });
}

int moda_class_statistics_backward(const moda_activation* activations, int64_t count,
                                   const moda_batch* batch, const moda_saved* saved,
                                   const void* sums_gradient, const void* l1_gradient,
                                   void* vectors, const moda_activation* const* gradients) {
  if (!moda::are_present({sums_gradient, l1_gradient}) ||
      !moda::are_gradients(vectors, activations, count, gradients, batch))
    return MODA_INVALID_ARGUMENT;
  return moda::with_call(activations, count, batch, saved, [&](auto& call, auto real) {
    using R = decltype(real);
    call.statistics_gradients(static_cast<const R*>(sums_gradient),
                              static_cast<const R*>(l1_gradient), static_cast<R*>(vectors),
                              gradients);
  });
}

int moda_activation_frequency(const moda_activation* activations, int64_t count,
                              const moda_batch* batch, const double* epsilons,
                              int32_t* const* counts, int32_t* not_finite) {
  if (!moda::are_activations(activations, count, batch) || !moda::are_present({epsilons, counts}))
    return MODA_INVALID_ARGUMENT;
  if (!std::all_of(counts, counts + count, [](const int32_t* p) { return p; }))
    return MODA_INVALID_ARGUMENT;
  return moda::guarded(
      [&] { moda::count_active(activations, count, *batch, epsilons, counts, not_finite); });
}

void moda_set_threads(int threads) { moda::set_threads(threads); }
int moda_threads(void) { return moda::threads(); }

}  // extern "C"
