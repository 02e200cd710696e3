/* The operations on hidden activations, framework-free, behind a C ABI.
 *
 * All functions take every hidden activation of a training step at once. Pointers are raw; memory
 * is the caller's. Results do not depend on the number of threads.
 */
#ifndef MODA_CORE_H
#define MODA_CORE_H

#include <stdint.h>

#if defined(_WIN32)
#define MODA_EXPORT __declspec(dllexport)
#else
#define MODA_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Raise on every change of a signature, a struct or a meaning below. */
#define MODA_ABI_VERSION 2

enum moda_dtype { MODA_FLOAT32 = 0, MODA_FLOAT64 = 1, MODA_FLOAT16 = 2, MODA_BFLOAT16 = 3 };
enum moda_status {
  MODA_OK = 0,
  MODA_INVALID_ARGUMENT = 1, /* null, a size that is negative or too large, an unknown dtype */
  MODA_OUT_OF_MEMORY = 2,
  MODA_CUDA_ERROR = 3,
  MODA_INVALID_LABEL = 4
};
enum moda_averaging { MODA_AVERAGE_CLASSES = 0, MODA_AVERAGE_PAIRS = 1 };
enum moda_objective { MODA_AFFINITY = 0, MODA_DISPERSION = 1, MODA_COMPACTNESS = 2, MODA_OBJECTIVES = 3 };

#define MODA_POSITION_AXES 3

/* One hidden activation: samples x positions x units, any strides. A matrix has one position. */
typedef struct {
  const void* data;
  int32_t dtype;        /* moda_dtype */
  int32_t non_negative; /* the caller knows that no element is negative */
  int64_t samples;      /* must be those of the batch */
  int64_t units;
  int64_t unit_stride; /* strides count elements */
  int64_t sample_stride;
  int64_t positions[MODA_POSITION_AXES]; /* extents, the slowest first; 1 where there is none */
  int64_t position_strides[MODA_POSITION_AXES];
} moda_activation;

/* The samples of a step. A label of -1 or of `classes` puts its sample into no class; any other
 * outside [0, classes) is MODA_INVALID_LABEL. */
typedef struct {
  const int32_t* labels;
  int64_t samples;
  int64_t classes;
} moda_batch;

/* Which form of the objectives; see moda_keras.MODALoss. */
typedef struct {
  int32_t averaging;     /* moda_averaging */
  int32_t unit_divides;  /* compactness is divided by the number of units */
} moda_options;

/* What the forward pass leaves for the backward pass.
 *
 * `real` is double if any activation is float64, else float. U is the sum of the units of all
 * activations; the part of an activation with D units starts where those before it end.
 *   normalized     samples * U reals: for each activation (samples, D) unit vectors, or zero vectors
 *   inverse_norms  (activations, samples) doubles: 1 / norm, 0 for a zero vector
 *   totals         U reals: the vector T whose product with a sample is its dispersion
 */
typedef struct {
  void* normalized;
  double* inverse_norms;
  void* totals;
} moda_saved;

/* The version above, and every struct and number of this file, as text: see interface.h. A caller
 * in another language compares it with its own and refuses a library that differs. */
MODA_EXPORT const char* moda_interface(void);

/* The instruction set of the loops: "avx512", "avx2" or "baseline". */
MODA_EXPORT const char* moda_instruction_set(void);

/* 1 if the call computes in double. */
MODA_EXPORT int moda_is_double(const moda_activation* activations, int64_t count);

/* objectives: (activations, MODA_OBJECTIVES) doubles. */
MODA_EXPORT int moda_objectives_forward(const moda_activation* activations, int64_t count,
                                        const moda_batch* batch, const moda_options* options,
                                        const moda_saved* saved, double* objectives);

/* The gradient to every activation.
 *
 * upstream: (activations, MODA_OBJECTIVES) doubles. `vectors`: samples * U reals, laid out as
 * `normalized`; receives the gradient of one position of each unit as if no element were negative.
 * `gradients`: for each activation NULL, or where to write the full gradient, with the dtype of
 * the activation and the strides given (its `data` is written).
 */
MODA_EXPORT int moda_objectives_backward(const moda_activation* activations, int64_t count,
                                         const moda_batch* batch, const moda_options* options,
                                         const moda_saved* saved, const double* upstream,
                                         void* vectors, const moda_activation* const* gradients);

/* Class statistics, in reals: sums (classes, U), counts (classes), nonzero (classes, activations),
 * l1 (classes, activations). `normalized` and `inverse_norms` as above; `totals` is not used. */
MODA_EXPORT int moda_class_statistics_forward(const moda_activation* activations, int64_t count,
                                              const moda_batch* batch, const moda_saved* saved,
                                              void* sums, void* counts, void* nonzero, void* l1);

/* Gradients from those of `sums` and `l1`; `vectors` and `gradients` as above. */
MODA_EXPORT int moda_class_statistics_backward(const moda_activation* activations, int64_t count,
                                               const moda_batch* batch, const moda_saved* saved,
                                               const void* sums_gradient, const void* l1_gradient,
                                               void* vectors,
                                               const moda_activation* const* gradients);

/* Adds to counts[a], (classes, D), the samples of each class in which the magnitude of a unit
 * exceeds epsilons[a] at any position, and to not_finite[a], if not NULL, the number of samples'
 * units with a NaN or an infinity, of any label. */
MODA_EXPORT int moda_activation_frequency(const moda_activation* activations, int64_t count,
                                          const moda_batch* batch, const double* epsilons,
                                          int32_t* const* counts, int32_t* not_finite);

/* Threads of the pool, the caller's included. 0 asks for the default: the processors that this
 * process may use, at most OMP_NUM_THREADS. */
MODA_EXPORT void moda_set_threads(int threads);
MODA_EXPORT int moda_threads(void);

#ifdef __cplusplus
}
#endif
#endif
