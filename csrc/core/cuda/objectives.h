// The objectives from class sums, and the gradients with respect to class sums.
#pragma once

#include "class_order.h"
#include "unit_vectors.h"

namespace moda::cuda {

// The doubles of `partials` below.
int64_t partial_count(const moda_activation* activations, int64_t count);

// totals[a]: units reals, T. `partials`: workspace. `inverse_norms`, `l1`: (activations, samples).
template <class R>
void find_objectives(Launcher& launch, const moda_activation* activations, int64_t count,
                     const moda_batch& batch, const moda_options& options, const ClassOrder& order,
                     const Rows<R>* rows, R* const* totals, double* partials, double* objectives);

// The gradient of one activation with respect to what it is summed to, a row for each class of the
// order.
template <class R>
struct Directions {
  R* sums;  // (most_present, units): with respect to the sums of unit vectors
  R* l1;    // (most_present): with respect to the sums of L1 norms
};

// `upstream`: (activations, MODA_OBJECTIVES) doubles. Of `rows` only the unit vectors are read.
template <class R>
void find_directions(Launcher& launch, const moda_activation* activations, int64_t count,
                     const moda_options& options, const ClassOrder& order, const Rows<R>* rows,
                     const R* const* totals, const double* upstream,
                     const Directions<R>* directions);

}  // namespace moda::cuda
