#include "kernels.h"

#include <cstdlib>
#include <cstring>

namespace moda {
namespace {

enum class InstructionSet { kBaseline, kAvx2, kAvx512 };

InstructionSet detect() {
#if defined(MODA_X86_KERNELS)
  // MODA_KERAS_ISA narrows the choice, to test what an older processor would run.
  const char* limit = std::getenv("MODA_KERAS_ISA");
  if (limit && std::strcmp(limit, "baseline") == 0) return InstructionSet::kBaseline;
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (avx512 && !(limit && std::strcmp(limit, "avx2") == 0)) return InstructionSet::kAvx512;
  if (avx2) return InstructionSet::kAvx2;
#endif
  return InstructionSet::kBaseline;
}

InstructionSet instruction_set() {
  static const InstructionSet detected = detect();
  return detected;
}

}  // namespace

#if defined(MODA_X86_KERNELS)
#define MODA_CHOOSE(NAME)                \
  switch (instruction_set()) {           \
    case InstructionSet::kAvx512:        \
      return avx512::NAME;               \
    case InstructionSet::kAvx2:          \
      return avx2::NAME;                 \
    default:                             \
      return baseline::NAME;             \
  }
#else
#define MODA_CHOOSE(NAME) return baseline::NAME;
#endif

template <>
const Kernels<float>& kernels<float>() {
  MODA_CHOOSE(float_kernels)
}
template <>
const Kernels<double>& kernels<double>() {
  MODA_CHOOSE(double_kernels)
}
const ActivityKernels& activity_kernels() { MODA_CHOOSE(activity) }

const char* instruction_set_name() {
  switch (instruction_set()) {
    case InstructionSet::kAvx512:
      return "avx512";
    case InstructionSet::kAvx2:
      return "avx2";
    default:
      return "baseline";
  }
}

}  // namespace moda

extern "C" const char* moda_instruction_set(void) { return moda::instruction_set_name(); }
