// The objectives of one activation from what class sums come to, and their gradient.
#pragma once

#include <cstdint>
#include <vector>

#include "class_order.h"
#include "moda_core.h"

namespace moda {

// Scalars of one activation; the vectors are indexed by present class.
struct ClassTotals {
  std::vector<double> squared_norms;  // ||S_k||^2
  std::vector<double> nonzero;        // samples whose vector is not zero
  std::vector<double> l1;             // sum of L1 norms
  double total_squared_norm = 0;      // ||T||^2
};

// The gradient with respect to S_k is own[k] * S_k + shared[k] * T, and to the L1 norm of a sample
// of class k, l1[k].
struct ClassGradients {
  std::vector<double> own, shared, l1;
};

// The weight w_k in T = sum of w_k S_k.
double dispersion_weight(const ClassOrder& order, const moda_options& options, int64_t k);

void objectives_of(const ClassTotals& totals, const ClassOrder& order, const moda_options& options,
                   int64_t units, double* objectives);

ClassGradients class_gradients(const ClassOrder& order, const moda_options& options, int64_t units,
                               const double* upstream);

}  // namespace moda
