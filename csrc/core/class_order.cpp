#include "class_order.h"

#include <algorithm>

namespace moda {

void check_labels(const moda_batch& batch) {
  for (int64_t i = 0; i < batch.samples; ++i)
    if (batch.labels[i] < -1 || batch.labels[i] > batch.classes) throw InvalidLabel();
}

ClassOrder::ClassOrder(const moda_batch& batch) {
  check_labels(batch);
  for (int64_t i = 0; i < batch.samples; ++i)
    if (is_class(batch, batch.labels[i])) samples.push_back(i);
  std::stable_sort(samples.begin(), samples.end(), [&](int64_t a, int64_t b) {
    return batch.labels[a] < batch.labels[b];
  });
  for (int64_t i = 0; i < static_cast<int64_t>(samples.size()); ++i) {
    const int32_t label = batch.labels[samples[i]];
    if (!classes.empty() && classes.back() == label) continue;
    classes.push_back(label);
    begins.push_back(i);
  }
  begins.push_back(static_cast<int64_t>(samples.size()));
}

}  // namespace moda
