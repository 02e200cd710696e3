/* The operations of moda_core.h on arrays in the memory of a CUDA device.
 *
 * The same structs with the same meaning, but every `data`, every pointer of moda_batch and
 * moda_saved, and every result is in device memory; the structs themselves, and arrays of them,
 * are in host memory and are not needed after the call. Labels cannot be checked without waiting
 * for them: any outside [0, classes) puts its sample into no class. Units, samples and the
 * positions of one activation are at most 2^30 each.
 *
 * Calls only enqueue work on `stream` (a cudaStream_t) of the current device: they neither
 * allocate nor wait, so they can be captured into a CUDA graph. `workspace` is device memory of
 * moda_cuda_workspace_bytes(), aligned to 256 bytes, that nothing else uses until the work is
 * done; its content matters neither before nor after. Results are the same on every run.
 */
#ifndef MODA_CUDA_H
#define MODA_CUDA_H

#include "moda_core.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Raise on every change of a signature, a struct or a meaning here or in moda_core.h. */
#define MODA_CUDA_ABI_VERSION 2

enum moda_cuda_operation {
  MODA_CUDA_OBJECTIVES_FORWARD = 0,
  MODA_CUDA_OBJECTIVES_BACKWARD = 1,
  MODA_CUDA_STATISTICS_FORWARD = 2,
  MODA_CUDA_ACTIVATION_FREQUENCY = 3,
  MODA_CUDA_OPERATIONS = 4
};

/* As moda_interface, and what this file adds. */
MODA_EXPORT const char* moda_cuda_interface(void);

/* 0 where there is no device or no driver that can serve. */
MODA_EXPORT int moda_cuda_device_count(void);

/* What the last call of this thread that found no device or returned MODA_CUDA_ERROR met with, in
 * the words of CUDA. */
MODA_EXPORT const char* moda_cuda_problem(void);

/* Bytes of workspace, -1 for invalid arguments. Nothing is read through the addresses. */
MODA_EXPORT int64_t moda_cuda_workspace_bytes(int32_t operation,
                                              const moda_activation* activations, int64_t count,
                                              const moda_batch* batch);

/* As moda_objectives_forward. */
MODA_EXPORT int moda_cuda_objectives_forward(const moda_activation* activations, int64_t count,
                                             const moda_batch* batch, const moda_options* options,
                                             const moda_saved* saved, double* objectives,
                                             void* workspace, void* stream);

/* As moda_objectives_backward; `gradients` is an array in host memory. */
MODA_EXPORT int moda_cuda_objectives_backward(const moda_activation* activations, int64_t count,
                                              const moda_batch* batch, const moda_options* options,
                                              const moda_saved* saved, const double* upstream,
                                              void* vectors,
                                              const moda_activation* const* gradients,
                                              void* workspace, void* stream);

/* As moda_class_statistics_forward. */
MODA_EXPORT int moda_cuda_class_statistics_forward(const moda_activation* activations,
                                                   int64_t count, const moda_batch* batch,
                                                   const moda_saved* saved, void* sums,
                                                   void* counts, void* nonzero, void* l1,
                                                   void* workspace, void* stream);

/* As moda_class_statistics_backward; it needs no workspace. */
MODA_EXPORT int moda_cuda_class_statistics_backward(const moda_activation* activations,
                                                    int64_t count, const moda_batch* batch,
                                                    const moda_saved* saved,
                                                    const void* sums_gradient,
                                                    const void* l1_gradient, void* vectors,
                                                    const moda_activation* const* gradients,
                                                    void* stream);

/* As moda_activation_frequency; `epsilons`, and `counts` as an array, are in host memory. */
MODA_EXPORT int moda_cuda_activation_frequency(const moda_activation* activations, int64_t count,
                                               const moda_batch* batch, const double* epsilons,
                                               int32_t* const* counts, int32_t* not_finite,
                                               void* workspace, void* stream);

#ifdef __cplusplus
}
#endif
#endif
