// How many samples of each class activate each unit.
#pragma once

#include "class_order.h"

namespace moda::cuda {

// `flags[a]`: what find_activity() left. Adds to counts[a], (classes, units), and not_finite[a].
void count_activity(Launcher& launch, const moda_activation* activations, int64_t count,
                    const moda_batch& batch, const ClassOrder& order, const void* const* flags,
                    int32_t* const* counts, int32_t* not_finite);

}  // namespace moda::cuda
