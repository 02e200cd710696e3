// Every sample's units over their positions: sums of magnitudes, and whether they are active.
#pragma once

#include <cstdint>

#include "launch.cuh"

namespace moda::cuda {

// The parts that the positions of a sample are reduced in.
int64_t reduction_parts(const moda_activation& activation);

// For every activation with an output: (parts, samples, units) reals, sums of the magnitudes.
template <class R>
void sum_magnitudes(Launcher& launch, const moda_activation* activations, int64_t count,
                    int64_t samples, void* const* outputs);

// The same in bytes of these flags.
constexpr unsigned kActive = 1;    // a magnitude exceeds epsilon
constexpr unsigned kInfinite = 2;  // an element is infinite
constexpr unsigned kNan = 4;

void find_activity(Launcher& launch, const moda_activation* activations, int64_t count,
                   int64_t samples, const double* epsilons, void* const* outputs);

}  // namespace moda::cuda
