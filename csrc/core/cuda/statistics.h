// Class statistics of one activation.
#pragma once

#include "class_order.h"
#include "unit_vectors.h"

namespace moda::cuda {

template <class R>
struct Statistics {
  R* sums;     // (classes, units)
  R* counts;   // (classes), and the others too
  R* nonzero;  // samples whose vector is not zero
  R* l1;       // sums of L1 norms
};

template <class R>
void find_statistics(Launcher& launch, const moda_activation& activation, const moda_batch& batch,
                     const ClassOrder& order, const Rows<R>& rows,
                     const Statistics<R>& statistics);

}  // namespace moda::cuda
