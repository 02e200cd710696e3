#include "objectives.h"

namespace moda {
namespace {

double square(double x) { return x * x; }
double pairs_within(double n) { return n * (n - 1) / 2; }

// How many terms each mean runs over; 0 where there is none.
struct Terms {
  double samples = 0;             // in any class
  double classes_with_pairs = 0;  // classes of two samples or more
  double pairs_of_same_class = 0;
  double pairs_between_classes = 0;

  explicit Terms(const ClassOrder& order) {
    double squares = 0;
    for (int64_t k = 0; k < order.present(); ++k) {
      const double n = static_cast<double>(order.count(k));
      samples += n;
      squares += square(n);
      classes_with_pairs += n >= 2;
      pairs_of_same_class += pairs_within(n);
    }
    pairs_between_classes = (square(samples) - squares) / 2;
  }
};

bool averages_pairs(const moda_options& options) {
  return options.averaging == MODA_AVERAGE_PAIRS;
}

// The weight of the similarity within class k in the mean.
double affinity_weight(const ClassOrder& order, const moda_options& options, const Terms& terms,
                       int64_t k) {
  const double n = static_cast<double>(order.count(k));
  if (n < 2) return 0;
  return averages_pairs(options) ? 1 / terms.pairs_of_same_class
                                 : 1 / (terms.classes_with_pairs * pairs_within(n));
}

double compactness_weight(const ClassOrder& order, const moda_options& options, const Terms& terms,
                          int64_t units, int64_t k) {
  const double divisor = options.unit_divides ? static_cast<double>(units) : 1;
  const double terms_of_mean = averages_pairs(options)
                                   ? terms.samples
                                   : static_cast<double>(order.present() * order.count(k));
  return 1 / (terms_of_mean * divisor);
}

double dispersion_terms(const ClassOrder& order, const moda_options& options, const Terms& terms) {
  return averages_pairs(options) ? terms.pairs_between_classes
                                 : pairs_within(static_cast<double>(order.present()));
}

}  // namespace

double dispersion_weight(const ClassOrder& order, const moda_options& options, int64_t k) {
  return averages_pairs(options) ? 1 : 1 / static_cast<double>(order.count(k));
}

void objectives_of(const ClassTotals& totals, const ClassOrder& order, const moda_options& options,
                   int64_t units, double* objectives) {
  const Terms terms(order);
  double similarity = 0, l1 = 0, own = 0;
  for (int64_t k = 0; k < order.present(); ++k) {
    const double weight = affinity_weight(order, options, terms, k);
    if (weight > 0) similarity += weight * (totals.squared_norms[k] - totals.nonzero[k]) / 2;
    own += square(dispersion_weight(order, options, k)) * totals.squared_norms[k];
    l1 += compactness_weight(order, options, terms, units, k) * totals.l1[k];
  }
  const double between = dispersion_terms(order, options, terms);
  objectives[MODA_AFFINITY] = terms.classes_with_pairs > 0 ? 1 - similarity : 0;
  objectives[MODA_DISPERSION] =
      between > 0 ? (totals.total_squared_norm - own) / (2 * between) : 0;
  objectives[MODA_COMPACTNESS] = l1;
}

ClassGradients class_gradients(const ClassOrder& order, const moda_options& options, int64_t units,
                               const double* upstream) {
  const Terms terms(order);
  const double between = dispersion_terms(order, options, terms);
  ClassGradients gradients;
  for (int64_t k = 0; k < order.present(); ++k) {
    const double weight = dispersion_weight(order, options, k);
    const double apart = between > 0 ? upstream[MODA_DISPERSION] * weight / between : 0;
    gradients.own.push_back(-upstream[MODA_AFFINITY] * affinity_weight(order, options, terms, k) -
                            apart * weight);
    gradients.shared.push_back(apart);
    gradients.l1.push_back(upstream[MODA_COMPACTNESS] *
                           compactness_weight(order, options, terms, units, k));
  }
  return gradients;
}

}  // namespace moda
