// What the C ABI refuses: null pointers, sizes that are negative or too large, unknown dtypes.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "moda_core.h"

namespace moda {

bool are_activations(const moda_activation* activations, int64_t count, const moda_batch* batch);
bool are_present(std::initializer_list<const void*> pointers);

// Arrays with a row for each sample may be null where there is no sample.
bool is_room(const moda_saved* saved, const moda_batch& batch);

// `gradients` has room for the gradient of each activation that it names.
bool are_gradients(const void* vectors, const moda_activation* activations, int64_t count,
                   const moda_activation* const* gradients, const moda_batch* batch);

}  // namespace moda
