// Element types and their arithmetic. Half precision is stored, never computed in.
//
// The namespace is that of the instruction set: a function compiled for one set must never be
// linked into code for another.
#pragma once

#include <cstdint>
#include <cstring>

#ifndef MODA_ISA
#define MODA_ISA baseline
#endif

namespace moda {
namespace MODA_ISA {

struct Float16 {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

template <class To, class From>
inline To bit_cast(From value) {
  static_assert(sizeof(To) == sizeof(From), "sizes differ");
  To result;
  std::memcpy(&result, &value, sizeof(To));
  return result;
}

inline float to_real(float value) { return value; }
inline double to_real(double value) { return value; }
inline float to_real(BFloat16 value) {
  return bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}
// Free of branches, so that loops over it vectorise. The scale by 2^112 moves the exponent's bias
// from 15 to 127 and makes subnormals right.
inline float to_real(Float16 value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(value.bits & 0x7fffu) << 13;
  const float scaled = bit_cast<float>(magnitude) * bit_cast<float>(0x77800000u);
  const uint32_t infinite = magnitude >= 0x0f800000u ? 0x7f800000u : 0u;
  return bit_cast<float>(bit_cast<uint32_t>(scaled) | infinite | sign);
}

template <class T, class R>
inline T from_real(R value) {
  return static_cast<T>(value);
}
// Round to nearest, ties to even; NaN stays NaN.
template <>
inline BFloat16 from_real<BFloat16, float>(float value) {
  const uint32_t bits = bit_cast<uint32_t>(value);
  const uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return {static_cast<uint16_t>(is_nan ? (bits >> 16) | 0x40u : rounded >> 16)};
}
template <>
inline Float16 from_real<Float16, float>(float value) {
  const uint32_t bits = bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7e00u)};
  if (magnitude >= 0x477ff000u) return {static_cast<uint16_t>(sign | 0x7c00u)};
  if (magnitude < 0x38800000u) {
    // Subnormal: adding 0.5 lines the mantissa up with the last bit of a half, and rounds.
    const float shifted = bit_cast<float>(magnitude) + 0.5f;
    return {static_cast<uint16_t>(sign | (bit_cast<uint32_t>(shifted) - 0x3f000000u))};
  }
  const uint32_t rounded = magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u);
  return {static_cast<uint16_t>(sign | (rounded >> 13))};
}
template <>
inline BFloat16 from_real<BFloat16, double>(double value) {
  return from_real<BFloat16, float>(static_cast<float>(value));
}
template <>
inline Float16 from_real<Float16, double>(double value) {
  return from_real<Float16, float>(static_cast<float>(value));
}

// The bits of a magnitude, which order as the magnitudes do: infinity above every number, NaN
// above infinity.
template <class T>
struct MagnitudeBits;
template <>
struct MagnitudeBits<float> {
  using type = uint32_t;
  static constexpr type mask = 0x7fffffffu, infinity = 0x7f800000u;
};
template <>
struct MagnitudeBits<double> {
  using type = uint64_t;
  static constexpr type mask = 0x7fffffffffffffffu, infinity = 0x7ff0000000000000u;
};
template <>
struct MagnitudeBits<Float16> {
  using type = uint16_t;
  static constexpr type mask = 0x7fffu, infinity = 0x7c00u;
};
template <>
struct MagnitudeBits<BFloat16> {
  using type = uint16_t;
  static constexpr type mask = 0x7fffu, infinity = 0x7f80u;
};

template <class T>
inline typename MagnitudeBits<T>::type magnitude_bits(T value) {
  using Bits = MagnitudeBits<T>;
  return bit_cast<typename Bits::type>(value) & Bits::mask;
}

}  // namespace MODA_ISA
}  // namespace moda
