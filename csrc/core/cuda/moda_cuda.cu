// The C ABI: what is refused, how the workspace is cut, what runs in which order.
#include "moda_cuda.h"

#include <new>
#include <vector>

#include "arguments.h"
#include "class_order.h"
#include "frequency.h"
#include "interface.h"
#include "layout.cuh"
#include "objectives.h"
#include "position_gradients.h"
#include "positions.h"
#include "statistics.h"
#include "unit_vectors.h"
#include "vector_gradients.h"
#include "workspace.cuh"

namespace moda::cuda {
namespace {

// In the words of CUDA; "" where there was none.
thread_local const char* problem = "";

// Kernels count units, positions and samples of one activation in 32 bits, with room to spare.
constexpr int64_t kMost = int64_t{1} << 30;

bool is_countable(const moda_activation& a, int64_t samples) {
  int64_t positions = 1;
  for (const int64_t extent : a.positions) {
    if (extent > kMost / positions) return false;
    positions *= extent;
  }
  return a.units <= kMost && samples <= kMost;
}

bool are_countable(const moda_activation* activations, int64_t count, const moda_batch* batch) {
  if (!are_activations(activations, count, batch)) return false;
  for (int64_t a = 0; a < count; ++a)
    if (!is_countable(activations[a], batch->samples)) return false;
  return true;
}

bool is_double(const moda_activation* activations, int64_t count) {
  for (int64_t a = 0; a < count; ++a)
    if (activations[a].dtype == MODA_FLOAT64) return true;
  return false;
}

// ------------------------------------------------------------------------------- one operation

// The activations of a call, the batch, and where the parts of the arrays start.
struct Call {
  const moda_activation* activations;
  int64_t count;
  moda_batch batch;

  int64_t units_before(int64_t activation) const {
    int64_t units = 0;
    for (int64_t a = 0; a < activation; ++a) units += activations[a].units;
    return units;
  }
};

template <class R>
std::vector<Rows<R>> rows_of(const Call& call, const moda_saved& saved, double* l1) {
  std::vector<Rows<R>> rows;
  R* normalized = static_cast<R*>(saved.normalized);
  for (int64_t a = 0; a < call.count; ++a) {
    const int64_t first = a * call.batch.samples;
    rows.push_back({normalized, saved.inverse_norms + first, l1 ? l1 + first : nullptr});
    normalized += call.activations[a].units * call.batch.samples;
  }
  return rows;
}

template <class R>
std::vector<R*> totals_of(const Call& call, const moda_saved& saved) {
  std::vector<R*> totals;
  for (int64_t a = 0; a < call.count; ++a)
    totals.push_back(static_cast<R*>(saved.totals) + call.units_before(a));
  return totals;
}

template <class R>
std::vector<R*> vectors_of(const Call& call, void* vectors) {
  std::vector<R*> parts;
  for (int64_t a = 0; a < call.count; ++a)
    parts.push_back(static_cast<R*>(vectors) + call.units_before(a) * call.batch.samples);
  return parts;
}

// For each activation (parts, samples, units) elements of T, if it is to be `wanted`.
template <class T, class Wanted>
std::vector<void*> take_reductions(Workspace& workspace, const Call& call, const Wanted& wanted) {
  std::vector<void*> arrays;
  for (int64_t i = 0; i < call.count; ++i) {
    const moda_activation& a = call.activations[i];
    const int64_t elements = reduction_parts(a) * call.batch.samples * a.units;
    arrays.push_back(wanted(a) ? workspace.take<T>(elements) : nullptr);
  }
  return arrays;
}

// The workspace of each operation. The same code measures it, cut from nothing, and cuts it.
template <class R>
struct NormalizeSpace {
  ClassOrder order;
  std::vector<void*> sums;
  double* l1;

  NormalizeSpace(Workspace& workspace, const Call& call)
      : order(take_class_order(workspace, call.batch)),
        // The elements of a matrix are its activation vectors already.
        sums(take_reductions<R>(workspace, call,
                                [](const moda_activation& a) { return positions_of(a) > 1; })),
        l1(workspace.take<double>(call.count * call.batch.samples)) {}

  std::vector<Rows<R>> run(Launcher& launch, const Call& call, const moda_saved& saved) const {
    const std::vector<Rows<R>> rows = rows_of<R>(call, saved, l1);
    sum_magnitudes<R>(launch, call.activations, call.count, call.batch.samples, sums.data());
    normalize<R>(launch, call.activations, call.count, call.batch.samples, sums.data(),
                 rows.data());
    return rows;
  }
};

template <class R>
struct ForwardSpace {
  NormalizeSpace<R> vectors;
  double* partials;

  ForwardSpace(Workspace& workspace, const Call& call)
      : vectors(workspace, call),
        partials(workspace.take<double>(partial_count(call.activations, call.count))) {}

  void run(Launcher& launch, const Call& call, const moda_options& options,
           const moda_saved& saved, double* objectives) const {
    order_classes(launch, call.batch, options.averaging, vectors.order);
    const std::vector<Rows<R>> rows = vectors.run(launch, call, saved);
    find_objectives<R>(launch, call.activations, call.count, call.batch, options, vectors.order,
                       rows.data(), totals_of<R>(call, saved).data(), partials, objectives);
  }
};

template <class R>
struct BackwardSpace {
  ClassOrder order;
  std::vector<Directions<R>> directions;

  BackwardSpace(Workspace& workspace, const Call& call)
      : order(take_class_order(workspace, call.batch)) {
    const int64_t present = most_present(call.batch);
    for (int64_t a = 0; a < call.count; ++a) {
      R* sums = workspace.take<R>(present * call.activations[a].units);
      directions.push_back({sums, workspace.take<R>(present)});
    }
  }

  void run(Launcher& launch, const Call& call, const moda_options& options,
           const moda_saved& saved, const double* upstream, void* vectors,
           const moda_activation* const* gradients) const {
    const std::vector<Rows<R>> rows = rows_of<R>(call, saved, nullptr);
    const std::vector<R*> totals = totals_of<R>(call, saved), outputs = vectors_of<R>(call, vectors);
    order_classes(launch, call.batch, options.averaging, order);
    find_directions<R>(launch, call.activations, call.count, options, order, rows.data(),
                       totals.data(), upstream, directions.data());
    std::vector<VectorGradient<R>> wanted;
    for (int64_t a = 0; a < call.count; ++a)
      wanted.push_back({rows[a].normalized, rows[a].inverse_norms, directions[a].sums,
                        directions[a].l1, outputs[a], call.activations[a].units, 1});
    find_vector_gradients<R>(launch, call.activations, call.count, call.batch.samples,
                             order.class_of, most_present(call.batch), wanted.data());
    if (gradients)
      write_gradients<R>(launch, call.activations, call.count, call.batch.samples, outputs.data(),
                         gradients);
  }
};

template <class R>
void class_statistics_backward(Launcher& launch, const Call& call, const moda_saved& saved,
                               const void* sums_gradient, const void* l1_gradient, void* vectors,
                               const moda_activation* const* gradients) {
  const std::vector<Rows<R>> rows = rows_of<R>(call, saved, nullptr);
  const std::vector<R*> outputs = vectors_of<R>(call, vectors);
  const int64_t units = call.units_before(call.count);
  std::vector<VectorGradient<R>> wanted;
  for (int64_t a = 0; a < call.count; ++a)
    wanted.push_back({rows[a].normalized, rows[a].inverse_norms,
                      static_cast<const R*>(sums_gradient) + call.units_before(a),
                      static_cast<const R*>(l1_gradient) + a, outputs[a], units, call.count});
  find_vector_gradients<R>(launch, call.activations, call.count, call.batch.samples,
                           call.batch.labels, call.batch.classes, wanted.data());
  if (gradients)
    write_gradients<R>(launch, call.activations, call.count, call.batch.samples, outputs.data(),
                       gradients);
}

struct FrequencySpace {
  ClassOrder order;
  std::vector<void*> flags;

  FrequencySpace(Workspace& workspace, const Call& call)
      : order(take_class_order(workspace, call.batch)),
        flags(take_reductions<uint8_t>(workspace, call,
                                       [](const moda_activation&) { return true; })) {}

  void run(Launcher& launch, const Call& call, const double* epsilons, int32_t* const* counts,
           int32_t* not_finite) const {
    order_classes(launch, call.batch, MODA_AVERAGE_CLASSES, order);
    find_activity(launch, call.activations, call.count, call.batch.samples, epsilons,
                  flags.data());
    count_activity(launch, call.activations, call.count, call.batch, order, flags.data(), counts,
                   not_finite);
  }
};

template <class R>
int64_t bytes_of(int32_t operation, const Call& call) {
  Workspace workspace;
  if (operation == MODA_CUDA_OBJECTIVES_FORWARD) ForwardSpace<R>(workspace, call);
  if (operation == MODA_CUDA_OBJECTIVES_BACKWARD) BackwardSpace<R>(workspace, call);
  if (operation == MODA_CUDA_STATISTICS_FORWARD) NormalizeSpace<R>(workspace, call);
  if (operation == MODA_CUDA_ACTIVATION_FREQUENCY) FrequencySpace(workspace, call);
  return workspace.bytes();
}

// -------------------------------------------------------------------------------------- calls

template <class F>
int guarded(const F& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return MODA_OUT_OF_MEMORY;
  } catch (...) {
    return MODA_INVALID_ARGUMENT;
  }
}

bool is_workspace(const void* address) {
  return address && reinterpret_cast<uintptr_t>(address) % kWorkspaceAlignment == 0;
}

// Calls body(launcher, call, R()) for the R that these activations ask for.
template <class F>
int with_call(const moda_activation* activations, int64_t count, const moda_batch* batch,
              void* stream, const F& body) {
  if (!are_countable(activations, count, batch)) return MODA_INVALID_ARGUMENT;
  return guarded([&] {
    const Call call{activations, count, *batch};
    Launcher launch(stream);
    if (is_double(activations, count))
      body(launch, call, double());
    else
      body(launch, call, float());
    if (launch.error() == cudaSuccess) return MODA_OK;
    problem = cudaGetErrorString(launch.error());
    return MODA_CUDA_ERROR;
  });
}

}  // namespace
}  // namespace moda::cuda

using namespace moda::cuda;
using moda::are_gradients;
using moda::are_present;
using moda::is_room;

extern "C" {

const char* moda_cuda_interface(void) {
  static const std::string text = moda::interface_text() + "; cuda=" +
                                  std::to_string(MODA_CUDA_ABI_VERSION) +
                                  " operations=" + std::to_string(MODA_CUDA_OPERATIONS);
  return text.c_str();
}

int moda_cuda_device_count(void) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess) return count;
  problem = cudaGetErrorString(error);
  cudaGetLastError();
  return 0;
}

const char* moda_cuda_problem(void) { return problem; }

int64_t moda_cuda_workspace_bytes(int32_t operation, const moda_activation* activations,
                                  int64_t count, const moda_batch* batch) {
  if (!are_countable(activations, count, batch)) return -1;
  if (operation < MODA_CUDA_OBJECTIVES_FORWARD || operation >= MODA_CUDA_OPERATIONS)
    return -1;
  int64_t bytes = -1;
  guarded([&] {
    const Call call{activations, count, *batch};
    bytes = is_double(activations, count) ? bytes_of<double>(operation, call)
                                          : bytes_of<float>(operation, call);
    return MODA_OK;
  });
  return bytes;
}

int moda_cuda_objectives_forward(const moda_activation* activations, int64_t count,
                                 const moda_batch* batch, const moda_options* options,
                                 const moda_saved* saved, double* objectives, void* workspace,
                                 void* stream) {
  if (!saved || !are_present({batch, options, saved->totals, objectives}) ||
      !is_room(saved, *batch) || !is_workspace(workspace))
    return MODA_INVALID_ARGUMENT;
  return with_call(activations, count, batch, stream, [&](auto& launch, auto& call, auto real) {
    Workspace memory(workspace);
    ForwardSpace<decltype(real)>(memory, call).run(launch, call, *options, *saved, objectives);
  });
}

int moda_cuda_objectives_backward(const moda_activation* activations, int64_t count,
                                  const moda_batch* batch, const moda_options* options,
                                  const moda_saved* saved, const double* upstream, void* vectors,
                                  const moda_activation* const* gradients, void* workspace,
                                  void* stream) {
  if (!saved || !are_present({batch, options, saved->totals, upstream}) ||
      !is_room(saved, *batch) || !is_workspace(workspace) ||
      !are_gradients(vectors, activations, count, gradients, batch))
    return MODA_INVALID_ARGUMENT;
  return with_call(activations, count, batch, stream, [&](auto& launch, auto& call, auto real) {
    Workspace memory(workspace);
    BackwardSpace<decltype(real)>(memory, call)
        .run(launch, call, *options, *saved, upstream, vectors, gradients);
  });
}

int moda_cuda_class_statistics_forward(const moda_activation* activations, int64_t count,
                                       const moda_batch* batch, const moda_saved* saved,
                                       void* sums, void* counts, void* nonzero, void* l1,
                                       void* workspace, void* stream) {
  if (!are_present({batch, sums, counts, nonzero, l1}) || !is_room(saved, *batch) ||
      !is_workspace(workspace))
    return MODA_INVALID_ARGUMENT;
  return with_call(activations, count, batch, stream, [&](auto& launch, auto& call, auto real) {
    using R = decltype(real);
    Workspace memory(workspace);
    const NormalizeSpace<R> space(memory, call);
    order_classes(launch, call.batch, MODA_AVERAGE_CLASSES, space.order);
    const std::vector<Rows<R>> rows = space.run(launch, call, *saved);
    const Statistics<R> statistics{static_cast<R*>(sums), static_cast<R*>(counts),
                                   static_cast<R*>(nonzero), static_cast<R*>(l1)};
    find_statistics<R>(launch, call.activations, call.count, call.batch, space.order, rows.data(),
                       statistics);
  });
}

int moda_cuda_class_statistics_backward(const moda_activation* activations, int64_t count,
                                        const moda_batch* batch, const moda_saved* saved,
                                        const void* sums_gradient, const void* l1_gradient,
                                        void* vectors, const moda_activation* const* gradients,
                                        void* stream) {
  if (!are_present({batch, sums_gradient, l1_gradient}) || !is_room(saved, *batch) ||
      !are_gradients(vectors, activations, count, gradients, batch))
    return MODA_INVALID_ARGUMENT;
  return with_call(activations, count, batch, stream, [&](auto& launch, auto& call, auto real) {
    class_statistics_backward<decltype(real)>(launch, call, *saved, sums_gradient, l1_gradient,
                                              vectors, gradients);
  });
}

int moda_cuda_activation_frequency(const moda_activation* activations, int64_t count,
                                   const moda_batch* batch, const double* epsilons,
                                   int32_t* const* counts, int32_t* not_finite, void* workspace,
                                   void* stream) {
  if (!are_present({epsilons, counts}) || !is_workspace(workspace)) return MODA_INVALID_ARGUMENT;
  for (int64_t a = 0; a < count; ++a)
    if (!counts[a]) return MODA_INVALID_ARGUMENT;
  return with_call(activations, count, batch, stream, [&](auto& launch, auto& call, auto) {
    Workspace memory(workspace);
    FrequencySpace(memory, call).run(launch, call, epsilons, counts, not_finite);
  });
}

}  // extern "C"
