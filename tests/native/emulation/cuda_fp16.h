// Half precision, as csrc/core/element.h has it for processors.
#pragma once

#include "../../../csrc/core/element.h"

struct __half {
  uint16_t bits;
};

inline __half __ushort_as_half(unsigned short bits) { return {bits}; }
inline unsigned short __half_as_ushort(__half value) { return value.bits; }
inline float __half2float(__half value) {
  return moda::baseline::to_real(moda::baseline::Float16{value.bits});
}
inline __half __float2half_rn(float value) {
  return {moda::baseline::from_real<moda::baseline::Float16>(value).bits};
}
