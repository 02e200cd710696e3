#include "arguments.h"

#include <algorithm>
#include <limits>

namespace moda {
namespace {

// No byte offset into an array of at most this many elements can overflow.
constexpr double kMostElements = 1ll << 59;

bool is_batch(const moda_batch* batch) {
  return batch && batch->samples >= 0 && batch->classes >= 1 &&
         batch->classes <= std::numeric_limits<int32_t>::max() &&
         (batch->labels || batch->samples == 0);
}

bool is_activation(const moda_activation& a, int64_t samples) {
  // An array of no sample must have extents that fit as well: its strides may be used.
  double elements = static_cast<double>(std::max<int64_t>(samples, 1)) * static_cast<double>(a.units);
  for (int64_t extent : a.positions) {
    if (extent < 1) return false;
    elements *= static_cast<double>(extent);
  }
  return a.samples == samples && a.units >= 1 && elements <= kMostElements && a.dtype >= MODA_FLOAT32 &&
         a.dtype <= MODA_BFLOAT16 && (a.data || samples == 0);
}

}  // namespace

bool are_activations(const moda_activation* activations, int64_t count, const moda_batch* batch) {
  if (!activations || count < 1 || !is_batch(batch)) return false;
  return std::all_of(activations, activations + count, [&](const moda_activation& a) {
    return is_activation(a, batch->samples);
  });
}

bool are_present(std::initializer_list<const void*> pointers) {
  return std::all_of(pointers.begin(), pointers.end(), [](const void* p) { return p; });
}

bool is_room(const moda_saved* saved, const moda_batch& batch) {
  return saved &&
         (are_present({saved->normalized, saved->inverse_norms}) || batch.samples == 0);
}

bool are_gradients(const void* vectors, const moda_activation* activations, int64_t count,
                   const moda_activation* const* gradients, const moda_batch* batch) {
  if (!batch || !activations || (!vectors && batch->samples != 0)) return false;
  for (int64_t a = 0; gradients && a < count; ++a) {
    if (!gradients[a]) continue;
    const bool same_shape =
        gradients[a]->samples == activations[a].samples &&
        gradients[a]->units == activations[a].units &&
        std::equal(activations[a].positions, activations[a].positions + MODA_POSITION_AXES,
                   gradients[a]->positions);
    if (!same_shape || gradients[a]->dtype != activations[a].dtype || !gradients[a]->data)
      return false;
  }
  return true;
}

}  // namespace moda
