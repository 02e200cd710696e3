// The samples of a batch, class by class, and what the objectives weigh each class with. All of it
// stays on the device: the host never knows how many classes a batch has.
#pragma once

#include "launch.cuh"
#include "workspace.cuh"

namespace moda::cuda {

struct ClassTerms {
  int32_t present;            // classes that the batch has
  int32_t samples;            // of any class
  double classes_with_pairs;  // terms of the mean of the affinity; 0 where there is none
  double pairs_between;       // terms of the mean of the dispersion
};

// Arrays on the device. Only classes that are present, so nothing grows with their number.
struct ClassOrder {
  ClassTerms* terms;
  int32_t* classes;   // the label of class k, ascending
  int32_t* begins;    // class k has samples[begins[k]] to samples[begins[k + 1] - 1]
  int32_t* samples;   // in the order of their classes, then of the batch; those of no class last
  int32_t* class_of;  // k of each sample, -1 for no class
  double* affinity;   // the weight of the similarity within class k in its mean, 0 for one sample
  double* dispersion;  // w_k in T = sum of w_k S_k
  double* compactness;  // the weight of an L1 norm of class k, before a division by units
  int32_t* spare;
};

// The most classes that the batch can have.
int64_t most_present(const moda_batch& batch);

ClassOrder take_class_order(Workspace& workspace, const moda_batch& batch);

// `averaging`: moda_averaging; matters for the weights alone.
void order_classes(Launcher& launch, const moda_batch& batch, int32_t averaging,
                   const ClassOrder& order);

}  // namespace moda::cuda
