// The same of bfloat16.
#pragma once

#include "../../../csrc/core/element.h"

struct __nv_bfloat16 {
  uint16_t bits;
};

inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 value) { return value.bits; }
inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  return {moda::baseline::from_real<moda::baseline::BFloat16>(value).bits};
}
