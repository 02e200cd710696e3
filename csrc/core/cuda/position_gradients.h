// The gradient of every element from that of its unit.
#pragma once

#include "launch.cuh"

namespace moda::cuda {

// For every activation with an output, a gradient array of its shape and dtype: vectors[a],
// (samples, units), times the sign of each element.
template <class R>
void write_gradients(Launcher& launch, const moda_activation* activations, int64_t count,
                     int64_t samples, const R* const* vectors,
                     const moda_activation* const* outputs);

}  // namespace moda::cuda
