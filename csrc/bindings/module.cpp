// The Python module moda_keras._native: addresses and numbers in, no framework.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <new>
#include <stdexcept>
#include <vector>

#include "moda_core.h"

namespace py = pybind11;

namespace {

// One row for each activation: address, dtype, non_negative, units, unit stride, sample stride,
// the extents of the positions and their strides. Address 0 stands for no array.
using Rows = py::array_t<int64_t, py::array::c_style | py::array::forcecast>;
constexpr py::ssize_t kColumns = 6 + 2 * MODA_POSITION_AXES;

void* address(int64_t value) { return reinterpret_cast<void*>(static_cast<uintptr_t>(value)); }

std::vector<moda_activation> activations_from(const Rows& rows) {
  if (rows.ndim() != 2 || rows.shape(1) != kColumns)
    throw std::invalid_argument("expected rows of 12 integers");
  std::vector<moda_activation> result(rows.shape(0));
  for (py::ssize_t i = 0; i < rows.shape(0); ++i) {
    const int64_t* row = rows.data(i, 0);
    moda_activation& a = result[i];
    a.data = address(row[0]);
    a.dtype = static_cast<int32_t>(row[1]);
    a.non_negative = static_cast<int32_t>(row[2]);
    a.units = row[3];
    a.unit_stride = row[4];
    a.sample_stride = row[5];
    for (int axis = 0; axis < MODA_POSITION_AXES; ++axis) {
      a.positions[axis] = row[6 + axis];
      a.position_strides[axis] = row[6 + MODA_POSITION_AXES + axis];
    }
  }
  return result;
}

std::vector<const moda_activation*> present(const std::vector<moda_activation>& activations) {
  std::vector<const moda_activation*> result;
  for (const moda_activation& a : activations) result.push_back(a.data ? &a : nullptr);
  return result;
}

void check(int status) {
  if (status == MODA_OUT_OF_MEMORY) throw std::bad_alloc();
  if (status == MODA_INVALID_LABEL)
    throw std::invalid_argument("expected labels from -1 to the number of classes");
  if (status != MODA_OK) throw std::invalid_argument("expected arrays that are present, sizes that fit and a dtype of the core");
}

moda_batch batch_of(int64_t labels, int64_t samples, int64_t classes) {
  return {static_cast<const int32_t*>(address(labels)), samples, classes};
}

moda_saved saved_of(int64_t normalized, int64_t inverse_norms, int64_t totals) {
  return {address(normalized), static_cast<double*>(address(inverse_norms)), address(totals)};
}

}  // namespace

PYBIND11_MODULE(_native, m) {
  m.doc() = "Native operations on hidden activations; addresses and numbers in.";
  m.def("abi_version", &moda_abi_version);
  m.def("instruction_set", &moda_instruction_set);
  m.def("threads", &moda_threads);
  m.def("set_threads", &moda_set_threads);

  m.def("objectives_forward",
        [](const Rows& rows, int64_t labels, int64_t samples, int64_t classes, int averaging,
           bool unit_divides, int64_t normalized, int64_t inverse_norms, int64_t totals,
           int64_t objectives) {
          const auto activations = activations_from(rows);
          const moda_batch batch = batch_of(labels, samples, classes);
          const moda_options options{averaging, unit_divides};
          const moda_saved saved = saved_of(normalized, inverse_norms, totals);
          int status;
          {
            py::gil_scoped_release release;
            status = moda_objectives_forward(activations.data(),
                                             static_cast<int64_t>(activations.size()), &batch,
                                             &options, &saved,
                                             static_cast<double*>(address(objectives)));
          }
          check(status);
        });

  m.def("objectives_backward",
        [](const Rows& rows, int64_t labels, int64_t samples, int64_t classes, int averaging,
           bool unit_divides, int64_t normalized, int64_t inverse_norms, int64_t totals,
           int64_t upstream, int64_t vectors, const Rows& gradient_rows) {
          const auto activations = activations_from(rows);
          const auto gradients = activations_from(gradient_rows);
          if (gradients.size() != activations.size())
            throw std::invalid_argument("expected a gradient row for each activation");
          const auto outputs = present(gradients);
          const moda_batch batch = batch_of(labels, samples, classes);
          const moda_options options{averaging, unit_divides};
          const moda_saved saved = saved_of(normalized, inverse_norms, totals);
          int status;
          {
            py::gil_scoped_release release;
            status = moda_objectives_backward(
                activations.data(), static_cast<int64_t>(activations.size()), &batch, &options,
                &saved, static_cast<const double*>(address(upstream)), address(vectors),
                outputs.data());
          }
          check(status);
        });

  m.def("class_statistics_forward",
        [](const Rows& rows, int64_t labels, int64_t samples, int64_t classes, int64_t normalized,
           int64_t inverse_norms, int64_t sums, int64_t counts, int64_t nonzero, int64_t l1) {
          const auto activations = activations_from(rows);
          if (activations.size() != 1) throw std::invalid_argument("expected one activation");
          const moda_batch batch = batch_of(labels, samples, classes);
          const moda_saved saved = saved_of(normalized, inverse_norms, 0);
          int status;
          {
            py::gil_scoped_release release;
            status = moda_class_statistics_forward(activations.data(), &batch, &saved,
                                                   address(sums), address(counts),
                                                   address(nonzero), address(l1));
          }
          check(status);
        });

  m.def("class_statistics_backward",
        [](const Rows& rows, int64_t labels, int64_t samples, int64_t classes, int64_t normalized,
           int64_t inverse_norms, int64_t sums_gradient, int64_t l1_gradient, int64_t vectors,
           const Rows& gradient_rows) {
          const auto activations = activations_from(rows);
          const auto gradients = activations_from(gradient_rows);
          if (activations.size() != 1 || gradients.size() != 1)
            throw std::invalid_argument("expected one activation");
          const moda_batch batch = batch_of(labels, samples, classes);
          const moda_saved saved = saved_of(normalized, inverse_norms, 0);
          const moda_activation* gradient = gradients[0].data ? &gradients[0] : nullptr;
          int status;
          {
            py::gil_scoped_release release;
            status = moda_class_statistics_backward(activations.data(), &batch, &saved,
                                                    address(sums_gradient), address(l1_gradient),
                                                    address(vectors), gradient);
          }
          check(status);
        });

  m.def("activation_frequency",
        [](const Rows& rows, int64_t labels, int64_t samples, int64_t classes,
           const std::vector<double>& epsilons, const std::vector<int64_t>& counts,
           int64_t not_finite) {
          const auto activations = activations_from(rows);
          if (epsilons.size() != activations.size() || counts.size() != activations.size())
            throw std::invalid_argument("expected an epsilon and counts for each activation");
          std::vector<int32_t*> outputs;
          for (int64_t output : counts) outputs.push_back(static_cast<int32_t*>(address(output)));
          const moda_batch batch = batch_of(labels, samples, classes);
          int status;
          {
            py::gil_scoped_release release;
            status = moda_activation_frequency(
                activations.data(), static_cast<int64_t>(activations.size()), &batch,
                epsilons.data(), outputs.data(), static_cast<int32_t*>(address(not_finite)));
          }
          check(status);
        });
}
