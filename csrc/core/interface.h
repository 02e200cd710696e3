// The structs and numbers of the C ABI as text, for callers in other languages to compare.
#pragma once

#include <cstddef>
#include <string>

#include "moda_core.h"

namespace moda {

#define MODA_NUMBER(NAME) std::string(" " #NAME "=") + std::to_string(NAME)
#define MODA_FIELD(STRUCT, FIELD) std::string(" " #FIELD "=") + std::to_string(offsetof(STRUCT, FIELD))
#define MODA_STRUCT(STRUCT) std::string("; " #STRUCT "=") + std::to_string(sizeof(STRUCT))

inline const std::string& interface_text() {
  static const std::string text =
      std::string("version=") + std::to_string(MODA_ABI_VERSION) + ";" +
      MODA_NUMBER(MODA_FLOAT32) + MODA_NUMBER(MODA_FLOAT64) + MODA_NUMBER(MODA_FLOAT16) +
      MODA_NUMBER(MODA_BFLOAT16) + MODA_NUMBER(MODA_OK) + MODA_NUMBER(MODA_INVALID_ARGUMENT) +
      MODA_NUMBER(MODA_OUT_OF_MEMORY) + MODA_NUMBER(MODA_CUDA_ERROR) +
      MODA_NUMBER(MODA_INVALID_LABEL) + MODA_NUMBER(MODA_AVERAGE_CLASSES) +
      MODA_NUMBER(MODA_AVERAGE_PAIRS) + MODA_NUMBER(MODA_OBJECTIVES) +
      MODA_NUMBER(MODA_POSITION_AXES) + MODA_STRUCT(moda_activation) +
      MODA_FIELD(moda_activation, data) + MODA_FIELD(moda_activation, dtype) +
      MODA_FIELD(moda_activation, non_negative) + MODA_FIELD(moda_activation, samples) +
      MODA_FIELD(moda_activation, units) + MODA_FIELD(moda_activation, unit_stride) +
      MODA_FIELD(moda_activation, sample_stride) + MODA_FIELD(moda_activation, positions) +
      MODA_FIELD(moda_activation, position_strides) + MODA_STRUCT(moda_batch) +
      MODA_FIELD(moda_batch, labels) + MODA_FIELD(moda_batch, samples) +
      MODA_FIELD(moda_batch, classes) + MODA_STRUCT(moda_options) +
      MODA_FIELD(moda_options, averaging) + MODA_FIELD(moda_options, unit_divides) +
      MODA_STRUCT(moda_saved) + MODA_FIELD(moda_saved, normalized) +
      MODA_FIELD(moda_saved, inverse_norms) + MODA_FIELD(moda_saved, totals);
  return text;
}

#undef MODA_NUMBER
#undef MODA_FIELD
#undef MODA_STRUCT

}  // namespace moda
