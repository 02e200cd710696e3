// Compiled once for every instruction set, with MODA_ISA naming it. Nothing here may instantiate a
// template of the standard library out of line: the linker would share it between the sets.
#ifndef MODA_ISA
#define MODA_ISA baseline
#endif

#include "kernels.h"

#include <cmath>

#include "element.h"

namespace moda {
namespace MODA_ISA {
namespace {

constexpr int kLanes = 16;
// Sums run over blocks this long before they are added up, which bounds their rounding error.
constexpr int64_t kBlock = 256;

// ------------------------------------------------------------------------ elements of one sample

template <class T>
inline const T* start_of(const moda_activation& activation, int64_t sample) {
  return static_cast<const T*>(activation.data) + sample * activation.sample_stride;
}

template <class F>
inline void for_outer_positions(const moda_activation& a, const F& body) {
  for (int64_t i = 0; i < a.positions[0]; ++i)
    for (int64_t j = 0; j < a.positions[1]; ++j)
      body(i * a.position_strides[0] + j * a.position_strides[1]);
}

template <class R>
inline R magnitude(R value) {
  return value < 0 ? -value : value;
}

template <class R, class T>
void add_magnitudes(R* __restrict sum, const T* __restrict x, int64_t n) {
  for (int64_t j = 0; j < n; ++j) sum[j] += magnitude<R>(to_real(x[j]));
}

template <class R, class T>
void add_four_magnitudes(R* __restrict sum, const T* __restrict x, int64_t stride, int64_t n) {
  for (int64_t j = 0; j < n; ++j)
    sum[j] += (magnitude<R>(to_real(x[j])) + magnitude<R>(to_real(x[j + stride]))) +
              (magnitude<R>(to_real(x[j + 2 * stride])) + magnitude<R>(to_real(x[j + 3 * stride])));
}

template <class R, class T>
R sum_of_block(const T* __restrict x, int64_t n) {
  R lanes[kLanes] = {0}, rest = 0;
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes)
    for (int k = 0; k < kLanes; ++k) lanes[k] += magnitude<R>(to_real(x[j + k]));
  for (; j < n; ++j) rest += magnitude<R>(to_real(x[j]));
  for (int k = 0; k < kLanes; ++k) rest += lanes[k];
  return rest;
}

// A run of units lies together (channels last).
template <class R, class T>
void pool_unit_runs(const moda_activation& a, const T* x, R* row, R* scratch) {
  const int64_t units = a.units, inner = a.positions[2], stride = a.position_strides[2];
  for (int64_t j = 0; j < units; ++j) row[j] = 0;
  for_outer_positions(a, [&](int64_t offset) {
    for (int64_t begin = 0; begin < inner; begin += kBlock) {
      const int64_t end = begin + kBlock < inner ? begin + kBlock : inner;
      for (int64_t j = 0; j < units; ++j) scratch[j] = 0;
      int64_t p = begin;
      for (; p + 4 <= end; p += 4)
        add_four_magnitudes(scratch, x + offset + p * stride, stride, units);
      for (; p < end; ++p) add_magnitudes(scratch, x + offset + p * stride, units);
      for (int64_t j = 0; j < units; ++j) row[j] += scratch[j];
    }
  });
}

// A run of positions lies together (channels first).
template <class R, class T>
void pool_position_runs(const moda_activation& a, const T* x, R* row) {
  const int64_t inner = a.positions[2];
  for (int64_t j = 0; j < a.units; ++j) {
    R sum = 0;
    for_outer_positions(a, [&](int64_t offset) {
      const T* run = x + j * a.unit_stride + offset;
      for (int64_t begin = 0; begin < inner; begin += kBlock)
        sum += sum_of_block<R>(run + begin, begin + kBlock < inner ? kBlock : inner - begin);
    });
    row[j] = sum;
  }
}

template <class R, class T>
void pool_any(const moda_activation& a, const T* x, R* row) {
  for (int64_t j = 0; j < a.units; ++j) {
    R sum = 0;
    for_outer_positions(a, [&](int64_t offset) {
      const T* run = x + j * a.unit_stride + offset;
      for (int64_t begin = 0; begin < a.positions[2]; begin += kBlock) {
        const int64_t end = begin + kBlock < a.positions[2] ? begin + kBlock : a.positions[2];
        R part = 0;
        for (int64_t p = begin; p < end; ++p)
          part += magnitude<R>(to_real(run[p * a.position_strides[2]]));
        sum += part;
      }
    });
    row[j] = sum;
  }
}

template <class R, class T>
void activation_vector(const moda_activation& a, const T* x, R* row, R* scratch) {
  const int64_t positions = position_count(a);
  if (a.unit_stride == 1 && positions == 1) {
    for (int64_t j = 0; j < a.units; ++j) row[j] = magnitude<R>(to_real(x[j]));
    return;
  }
  if (a.unit_stride == 1)
    pool_unit_runs(a, x, row, scratch);
  else if (a.position_strides[2] == 1)
    pool_position_runs(a, x, row);
  else
    pool_any(a, x, row);
  const R scale = R(1) / static_cast<R>(positions);
  for (int64_t j = 0; j < a.units; ++j) row[j] *= scale;
}

// --------------------------------------------------------------------------------- unit vectors

template <class R>
double sum_of(const R* __restrict x, int64_t n) {
  double sum = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock)
    sum += sum_of_block<R>(x + begin, begin + kBlock < n ? kBlock : n - begin);
  return sum;
}

// A is what the products are added up in, within a block.
template <class A, class R>
double dot(const R* __restrict x, const R* __restrict y, int64_t n, A scale = 1) {
  double sum = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = begin + kBlock < n ? begin + kBlock : n;
    A lanes[kLanes] = {0}, rest = 0;
    int64_t j = begin;
    for (; j + kLanes <= end; j += kLanes)
      for (int k = 0; k < kLanes; ++k) lanes[k] += (x[j + k] * scale) * (y[j + k] * scale);
    for (; j < end; ++j) rest += (x[j] * scale) * (y[j] * scale);
    for (int k = 0; k < kLanes; ++k) rest += lanes[k];
    sum += rest;
  }
  return sum;
}

template <class R>
R largest(const R* x, int64_t n) {
  R result = 0;
  for (int64_t j = 0; j < n; ++j) result = x[j] > result ? x[j] : result;
  return result;
}

// What to multiply a row with so that its squares neither overflow nor vanish in double.
double safe_scale(const double* row, int64_t units) {
  const double peak = largest(row, units);
  if (peak > 1e150) return 1e-300;
  return peak < 1e-150 && peak > 0 ? 1e300 : 1;
}

struct Squares {
  double sum, scale;  // sum of (scale * element)^2
};

Squares squares_of(const double* row, int64_t units) {
  const double scale = safe_scale(row, units);
  return {dot<double>(row, row, units, scale), scale};
}
// In double only where float would overflow or lose small elements.
Squares squares_of(const float* row, int64_t units) {
  const double quick = dot<float>(row, row, units);
  if (quick > 1e-20 && quick < 1e30) return {quick, 1};
  return {dot<double>(row, row, units), 1};
}

// Divides the row by its norm; returns the inverse norm, 0 for a zero row, NaN if not finite.
template <class R>
double normalize_row(R* __restrict row, int64_t units) {
  const auto [squares, scale] = squares_of(row, units);
  if (squares == 0) return 0;
  const double inverse = std::isinf(squares) ? NAN : 1 / std::sqrt(squares);
  const double factor = inverse * scale;
  if (sizeof(R) == 4 && factor > 1e-30 && factor < 1e30) {
    const R small = static_cast<R>(factor);
    for (int64_t j = 0; j < units; ++j) row[j] *= small;
  } else {
    for (int64_t j = 0; j < units; ++j) row[j] = static_cast<R>((row[j] * scale) * inverse);
  }
  return factor;
}

template <class R, class T>
void normalize_elements(const moda_activation& a, int64_t first, int64_t last, R* normalized,
                        double* inverse_norms, double* l1, R* scratch) {
  for (int64_t sample = first; sample < last; ++sample) {
    R* row = normalized + sample * a.units;
    activation_vector(a, start_of<T>(a, sample), row, scratch);
    l1[sample] = sum_of(row, a.units);
    inverse_norms[sample] = normalize_row(row, a.units);
  }
}

// Calls F::run<T> for the element type T of an activation.
template <class F, class... Arguments>
auto with_element_type(int32_t dtype, Arguments&&... arguments) {
  switch (dtype) {
    case MODA_FLOAT64:
      return F::template run<double>(arguments...);
    case MODA_FLOAT16:
      return F::template run<Float16>(arguments...);
    case MODA_BFLOAT16:
      return F::template run<BFloat16>(arguments...);
    default:
      return F::template run<float>(arguments...);
  }
}

template <class R>
struct Normalize {
  template <class T>
  static void run(const moda_activation& a, int64_t first, int64_t last, R* normalized,
                  double* inverse_norms, double* l1, R* scratch) {
    normalize_elements<R, T>(a, first, last, normalized, inverse_norms, l1, scratch);
  }
};

template <class R>
void normalize(const moda_activation& a, int64_t first, int64_t last, R* normalized,
               double* inverse_norms, double* l1, R* scratch) {
  with_element_type<Normalize<R>>(a.dtype, a, first, last, normalized, inverse_norms, l1, scratch);
}

// --------------------------------------------------------------------------- sums and gradients

template <class R>
void sum_rows(const R* rows, int64_t units, const int64_t* samples, int64_t count, int64_t begin,
              int64_t end, double* __restrict sums) {
  for (int64_t j = begin; j < end; ++j) sums[j - begin] = 0;
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    const R* __restrict a = rows + samples[i] * units;
    const R* __restrict b = rows + samples[i + 1] * units;
    const R* __restrict c = rows + samples[i + 2] * units;
    const R* __restrict d = rows + samples[i + 3] * units;
    for (int64_t j = begin; j < end; ++j) sums[j - begin] += (a[j] + b[j]) + (c[j] + d[j]);
  }
  for (; i < count; ++i) {
    const R* __restrict row = rows + samples[i] * units;
    for (int64_t j = begin; j < end; ++j) sums[j - begin] += row[j];
  }
}

template <class R>
void vector_gradient(const R* __restrict normalized, const R* __restrict direction, int64_t units,
                     double inverse_norm, double l1, int64_t positions, R* __restrict gradient) {
  const double share = 1.0 / static_cast<double>(positions);
  const R constant = static_cast<R>(l1 * share);
  if (inverse_norm == 0) {
    for (int64_t j = 0; j < units; ++j) gradient[j] = constant;
    return;
  }
  const double largest_factor = sizeof(R) == 4 ? 3e38 : 1e308;
  const double product = inverse_norm * share;
  const R factor = static_cast<R>(product > largest_factor ? largest_factor : product);
  const R along = static_cast<R>(dot<R>(normalized, direction, units));
  for (int64_t j = 0; j < units; ++j)
    gradient[j] = (direction[j] - normalized[j] * along) * factor + constant;
}

template <class R, class T>
inline R signed_like(R value, T element, bool non_negative) {
  const R x = to_real(element);
  return non_negative || x > 0 ? value : x < 0 ? -value : x == 0 ? R(0) : x;
}

template <class R>
struct WriteGradient {
  template <class T>
  static void run(const moda_activation& a, const moda_activation& g, const R* vectors,
                  int64_t first, int64_t last) {
    const bool non_negative = a.non_negative != 0;
    for (int64_t sample = first; sample < last; ++sample) {
      const T* x = start_of<T>(a, sample);
      T* out = const_cast<T*>(start_of<T>(g, sample));
      const R* vector = vectors + sample * a.units;
      for (int64_t i = 0; i < a.positions[0]; ++i)
        for (int64_t j = 0; j < a.positions[1]; ++j)
          write(a, g, x + i * a.position_strides[0] + j * a.position_strides[1],
                out + i * g.position_strides[0] + j * g.position_strides[1], vector, non_negative);
    }
  }

  template <class T>
  static void write(const moda_activation& a, const moda_activation& g, const T* x, T* out,
                    const R* vector, bool non_negative) {
    const int64_t inner = a.positions[2];
    if (a.unit_stride == 1 && g.unit_stride == 1) {
      for (int64_t p = 0; p < inner; ++p)
        write_run(x + p * a.position_strides[2], out + p * g.position_strides[2], vector, a.units,
                  non_negative);
      return;
    }
    for (int64_t unit = 0; unit < a.units; ++unit)
      for (int64_t p = 0; p < inner; ++p)
        out[unit * g.unit_stride + p * g.position_strides[2]] = from_real<T>(
            signed_like(vector[unit], x[unit * a.unit_stride + p * a.position_strides[2]],
                        non_negative));
  }

  template <class T>
  static void write_run(const T* __restrict x, T* __restrict out, const R* __restrict vector,
                        int64_t units, bool non_negative) {
    if (non_negative) {
      for (int64_t j = 0; j < units; ++j) out[j] = from_real<T>(vector[j]);
      return;
    }
    for (int64_t j = 0; j < units; ++j) out[j] = from_real<T>(signed_like(vector[j], x[j], false));
  }
};

template <class R>
void write_gradient(const moda_activation& a, const moda_activation& g, const R* vectors,
                    int64_t first, int64_t last) {
  with_element_type<WriteGradient<R>>(a.dtype, a, g, vectors, first, last);
}

// -------------------------------------------------------------------------------------- activity

template <class T>
using Bits = typename MagnitudeBits<T>::type;

template <class T>
void keep_larger(Bits<T>* __restrict peaks, const T* __restrict x, int64_t n) {
  for (int64_t j = 0; j < n; ++j) {
    const Bits<T> bits = magnitude_bits(x[j]);
    peaks[j] = bits > peaks[j] ? bits : peaks[j];
  }
}

template <class B>
inline B larger(B a, B b) {
  return a > b ? a : b;
}

template <class T>
void keep_largest_of_four(Bits<T>* __restrict peaks, const T* __restrict x, int64_t stride,
                          int64_t n) {
  for (int64_t j = 0; j < n; ++j) {
    const Bits<T> first = larger(magnitude_bits(x[j]), magnitude_bits(x[j + stride]));
    const Bits<T> second =
        larger(magnitude_bits(x[j + 2 * stride]), magnitude_bits(x[j + 3 * stride]));
    peaks[j] = larger(peaks[j], larger(first, second));
  }
}

template <class T>
Bits<T> peak_of_run(const T* __restrict x, int64_t n) {
  Bits<T> lanes[kLanes] = {0}, peak = 0;
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) keep_larger(lanes, x + j, kLanes);
  for (; j < n; ++j) keep_larger(&peak, x + j, 1);
  for (int k = 0; k < kLanes; ++k) peak = lanes[k] > peak ? lanes[k] : peak;
  return peak;
}

template <class T>
void find_peaks(const moda_activation& a, const T* x, Bits<T>* peaks) {
  for (int64_t j = 0; j < a.units; ++j) peaks[j] = 0;
  const int64_t inner = a.positions[2], stride = a.position_strides[2];
  for_outer_positions(a, [&](int64_t offset) {
    if (a.unit_stride == 1) {
      int64_t p = 0;
      for (; p + 4 <= inner; p += 4)
        keep_largest_of_four(peaks, x + offset + p * stride, stride, a.units);
      for (; p < inner; ++p) keep_larger(peaks, x + offset + p * stride, a.units);
      return;
    }
    for (int64_t j = 0; j < a.units; ++j) {
      const T* run = x + offset + j * a.unit_stride;
      if (stride == 1) {
        const Bits<T> peak = peak_of_run(run, inner);
        peaks[j] = peak > peaks[j] ? peak : peaks[j];
      } else {
        for (int64_t p = 0; p < inner; ++p) keep_larger(peaks + j, run + p * stride, 1);
      }
    }
  });
}

// The bits of the largest number that does not exceed epsilon.
template <class T>
Bits<T> bits_of_limit(double epsilon) {
  const T rounded = from_real<T>(epsilon);
  const Bits<T> bits = magnitude_bits(rounded);
  return static_cast<double>(to_real(rounded)) > epsilon ? bits - 1 : bits;
}

template <class B>
int64_t compare(const B* __restrict peaks, int64_t units, B limit, B infinity,
                uint8_t* __restrict active) {
  int32_t not_finite = 0;
  for (int64_t j = 0; j < units; ++j) {
    active[j] = (peaks[j] > limit) & (peaks[j] <= infinity);
    not_finite += peaks[j] >= infinity;
  }
  return not_finite;
}

struct FindActive {
  template <class T>
  static int64_t run(const moda_activation& a, double epsilon, int64_t first, int64_t last,
                     uint8_t* active, void* scratch) {
    Bits<T>* peaks = static_cast<Bits<T>*>(scratch);
    const Bits<T> limit = bits_of_limit<T>(epsilon);
    int64_t not_finite = 0;
    for (int64_t sample = first; sample < last; ++sample) {
      find_peaks(a, start_of<T>(a, sample), peaks);
      not_finite += compare(peaks, a.units, limit, MagnitudeBits<T>::infinity,
                            active + sample * a.units);
    }
    return not_finite;
  }
};

int64_t find_active(const moda_activation& a, double epsilon, int64_t first, int64_t last,
                    uint8_t* active, void* scratch) {
  return with_element_type<FindActive>(a.dtype, a, epsilon, first, last, active, scratch);
}

void add_active(const uint8_t* __restrict active, int64_t units, int32_t* __restrict counts) {
  for (int64_t j = 0; j < units; ++j) counts[j] += active[j];
}

}  // namespace

const Kernels<float> float_kernels = {normalize<float>, sum_rows<float>, vector_gradient<float>,
                                      write_gradient<float>};
const Kernels<double> double_kernels = {normalize<double>, sum_rows<double>,
                                        vector_gradient<double>, write_gradient<double>};
const ActivityKernels activity = {find_active, add_active};

}  // namespace MODA_ISA
}  // namespace moda
