// Class statistics.
#pragma once

#include "class_order.h"
#include "unit_vectors.h"

namespace moda::cuda {

template <class R>
struct Statistics {
  R* sums;     // (classes, units of all activations)
  R* counts;   // (classes)
  R* nonzero;  // (classes, activations): samples whose vector is not zero
  R* l1;       // (classes, activations): sums of L1 norms
};

template <class R>
void find_statistics(Launcher& launch, const moda_activation* activations, int64_t count,
                     const moda_batch& batch, const ClassOrder& order, const Rows<R>* rows,
                     const Statistics<R>& statistics);

}  // namespace moda::cuda
