// Element types, and vectors of them that one instruction moves. Half precision is stored, never
// computed in.
#pragma once

#include <cmath>
#include <cstring>

#include "launch.cuh"

namespace moda::cuda {

struct Float16 {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

__device__ __forceinline__ float to_real(float value) { return value; }
__device__ __forceinline__ double to_real(double value) { return value; }
__device__ __forceinline__ float to_real(Float16 value) {
  return __half2float(__ushort_as_half(value.bits));
}
__device__ __forceinline__ float to_real(BFloat16 value) {
  return __uint_as_float(static_cast<uint32_t>(value.bits) << 16);
}

template <class T>
struct FromReal {
  template <class R>
  static __device__ __forceinline__ T round(R value) {
    return static_cast<T>(value);
  }
};
template <>
struct FromReal<Float16> {
  template <class R>
  static __device__ __forceinline__ Float16 round(R value) {
    return {__half_as_ushort(__float2half_rn(static_cast<float>(value)))};
  }
};
template <>
struct FromReal<BFloat16> {
  template <class R>
  static __device__ __forceinline__ BFloat16 round(R value) {
    return {__bfloat16_as_ushort(__float2bfloat16_rn(static_cast<float>(value)))};
  }
};

__device__ __forceinline__ float magnitude(float value) { return fabsf(value); }
__device__ __forceinline__ double magnitude(double value) { return fabs(value); }

// ------------------------------------------------------------------------------------ vectors

constexpr int kVectorBytes = 16;

template <class T>
constexpr int kVectorWidth = kVectorBytes / static_cast<int>(sizeof(T));

template <class T, int kWidth>
struct Vector {
  T elements[kWidth];
};

template <int kBytes>
struct Packed;
template <>
struct Packed<4> {
  using type = unsigned;
};
template <>
struct Packed<8> {
  using type = uint2;
};
template <>
struct Packed<16> {
  using type = uint4;
};

// The address must be a multiple of the vector's size.
template <int kWidth, class T>
__device__ __forceinline__ Vector<T, kWidth> load_vector(const T* address) {
  Vector<T, kWidth> vector;
  if constexpr (kWidth == 1) {
    vector.elements[0] = *address;
  } else {
    using Raw = typename Packed<kWidth * static_cast<int>(sizeof(T))>::type;
    const Raw raw = *reinterpret_cast<const Raw*>(address);
    memcpy(&vector, &raw, sizeof(Raw));
  }
  return vector;
}

template <int kWidth, class T>
__device__ __forceinline__ void store_vector(T* address, const Vector<T, kWidth>& vector) {
  if constexpr (kWidth == 1) {
    *address = vector.elements[0];
  } else {
    using Raw = typename Packed<kWidth * static_cast<int>(sizeof(T))>::type;
    Raw raw;
    memcpy(&raw, &vector, sizeof(Raw));
    *reinterpret_cast<Raw*>(address) = raw;
  }
}

// Up to kWidth elements of a row of reals: at once where `whole`, else one by one, 0 past the end.
template <int kWidth, class R>
__device__ __forceinline__ Vector<R, kWidth> load_reals(const R* row, int unit, int units,
                                                        bool whole) {
  if (whole) return load_vector<kWidth>(row + unit);
  Vector<R, kWidth> vector;
#pragma unroll
  for (int w = 0; w < kWidth; ++w) vector.elements[w] = unit + w < units ? row[unit + w] : R(0);
  return vector;
}

template <int kWidth, class R>
__device__ __forceinline__ void store_reals(R* row, int unit, int units, bool whole,
                                            const Vector<R, kWidth>& vector) {
  if (whole) return store_vector<kWidth>(row + unit, vector);
#pragma unroll
  for (int w = 0; w < kWidth; ++w)
    if (unit + w < units) row[unit + w] = vector.elements[w];
}

// ----------------------------------------------------------------------------- dispatch on host

template <class T>
struct ElementType {
  using type = T;
};

inline int64_t element_bytes(int32_t dtype) {
  return dtype == MODA_FLOAT64 ? 8 : dtype == MODA_FLOAT32 ? 4 : 2;
}

// Whether a call in R has kernels for vectors of T: in one in double, narrower elements are too rare.
template <class R, class T>
constexpr bool kHasVectors = sizeof(R) == sizeof(float) || sizeof(T) == sizeof(double);

// Calls visit(dtype, ElementType<T>()) for every type that a call in R can have.
template <class R, class Visit>
void for_each_element_type(const Visit& visit) {
  visit(MODA_FLOAT32, ElementType<float>());
  visit(MODA_FLOAT16, ElementType<Float16>());
  visit(MODA_BFLOAT16, ElementType<BFloat16>());
  if constexpr (sizeof(R) == sizeof(double)) visit(MODA_FLOAT64, ElementType<double>());
}

inline bool is_aligned(const void* address) {
  return reinterpret_cast<uintptr_t>(address) % kVectorBytes == 0;
}

}  // namespace moda::cuda
