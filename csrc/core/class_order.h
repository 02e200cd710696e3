// The samples of a batch, class by class.
#pragma once

#include <cstdint>
#include <vector>

#include "moda_core.h"

namespace moda {

// A label that is neither a class nor the mark of a sample of no class.
struct InvalidLabel {};

// Throws InvalidLabel if there is one.
void check_labels(const moda_batch& batch);

inline bool is_class(const moda_batch& batch, int32_t label) {
  return label >= 0 && label < batch.classes;
}

// Only classes that the batch has, so that nothing grows with the number of classes.
struct ClassOrder {
  std::vector<int32_t> classes;  // the classes present, ascending
  std::vector<int64_t> begins;   // class k has samples [begins[k], begins[k + 1])
  std::vector<int64_t> samples;  // in the order of their classes, then of the batch

  explicit ClassOrder(const moda_batch& batch);

  int64_t present() const { return static_cast<int64_t>(classes.size()); }
  int64_t count(int64_t k) const { return begins[k + 1] - begins[k]; }
  const int64_t* of_class(int64_t k) const { return samples.data() + begins[k]; }
};

}  // namespace moda
