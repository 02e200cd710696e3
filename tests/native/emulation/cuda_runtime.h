// Enough of CUDA to run the kernels of csrc/core/cuda on a processor, as the tests do.
//
// A launch runs its blocks one after another. The threads of a block are fibers that run until they
// wait for others: __syncthreads() lets nobody pass before every thread of the block has arrived, a
// shuffle nobody of the warp. Fibers run in ascending or descending order of their threads, so a
// barrier that is missing shows as results that differ between the two, and threads that wait for
// one that has gone are an error, as they would hang or be undefined on a GPU.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __grid_constant__
#define __shared__ static

// Aligned as on a GPU, where a load from anywhere else fails: the tests have the compiler check it.
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned width = 1) : x(width) {}
};

using std::isinf;
using std::min;

inline dim3 threadIdx, blockIdx;

namespace emulation {

constexpr int kWarp = 32;
constexpr size_t kStackBytes = 128 << 10;

enum class Wait { kNone, kWarp, kBlock, kGone };

struct Fiber {
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  ucontext_t start;
  jmp_buf resume;
  bool has_started = false;
  Wait wait = Wait::kGone;
  int exchanges = 0;
};

// Two slots for each thread: a thread may write to the next while others still read the last.
struct Slots {
  uint64_t values[2][kWarp];
};

struct Machine {
  std::vector<Fiber> fibers;
  std::vector<Slots> slots;
  std::function<void()> kernel;
  jmp_buf scheduler;
  int running = 0;
  bool descends = false;
  int64_t launches = 0;
};

inline Machine machine;

inline void wait(Wait reason) {
  Fiber& fiber = machine.fibers[machine.running];
  fiber.wait = reason;
  if (!_setjmp(fiber.resume)) _longjmp(machine.scheduler, 1);
}

// A fiber outlives its kernel and waits for the next.
inline void live() {
  for (;;) {
    machine.kernel();
    wait(Wait::kGone);
  }
}

inline void resume(int thread) {
  Fiber& fiber = machine.fibers[thread];
  machine.running = thread;
  threadIdx.x = static_cast<unsigned>(thread);
  if (_setjmp(machine.scheduler)) return;
  if (fiber.has_started) _longjmp(fiber.resume, 1);
  fiber.has_started = true;
  getcontext(&fiber.start);
  fiber.start.uc_stack.ss_sp = fiber.stack.get();
  fiber.start.uc_stack.ss_size = kStackBytes;
  makecontext(&fiber.start, live, 0);
  setcontext(&fiber.start);
}

// Lets the threads [first, last) go on if all of them have arrived.
inline bool release(int first, int last, Wait reason) {
  for (int thread = first; thread < last; ++thread)
    if (machine.fibers[thread].wait != reason) return false;
  for (int thread = first; thread < last; ++thread) machine.fibers[thread].wait = Wait::kNone;
  return true;
}

// Runs the threads [first, last) until each waits for something; whether any ran.
inline bool run_ready(int first, int last) {
  bool has_run = false;
  for (int i = first; i < last; ++i) {
    const int thread = machine.descends ? last - 1 - (i - first) : i;
    if (machine.fibers[thread].wait != Wait::kNone) continue;
    resume(thread);
    has_run = true;
  }
  return has_run;
}

// False if threads wait for others that never come.
inline bool run_block(int threads) {
  for (int thread = 0; thread < threads; ++thread) {
    machine.fibers[thread].wait = Wait::kNone;
    machine.fibers[thread].exchanges = 0;
  }
  for (bool has_run = true; has_run;) {
    has_run = false;
    const int warps = threads / kWarp;
    for (int i = 0; i < warps; ++i) {
      const int first = (machine.descends ? warps - 1 - i : i) * kWarp;
      do
        has_run |= run_ready(first, first + kWarp);
      while (release(first, first + kWarp, Wait::kWarp));
    }
    has_run |= release(0, threads, Wait::kBlock);
  }
  return release(0, threads, Wait::kGone);
}

// What this thread and the others of its warp bring, by lane.
template <class T>
const uint64_t* exchange(T value) {
  Fiber& fiber = machine.fibers[machine.running];
  const int lane = machine.running % kWarp;
  uint64_t* values = machine.slots[machine.running / kWarp].values[fiber.exchanges++ % 2];
  memcpy(&values[lane], &value, sizeof(T));
  wait(Wait::kWarp);
  return values;
}

template <class T>
T value_of(const uint64_t* values, int lane) {
  T value;
  memcpy(&value, &values[lane], sizeof(T));
  return value;
}

}  // namespace emulation

// --------------------------------------------------------------------------------- in kernels

inline void __syncthreads() { emulation::wait(emulation::Wait::kBlock); }

template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  const uint64_t* values = emulation::exchange(value);
  return emulation::value_of<T>(values, (static_cast<int>(threadIdx.x) % emulation::kWarp) ^ mask);
}

template <class T>
T __shfl_up_sync(unsigned, T value, unsigned delta) {
  const uint64_t* values = emulation::exchange(value);
  const int lane = static_cast<int>(threadIdx.x) % emulation::kWarp;
  const int source = lane - static_cast<int>(delta);
  return emulation::value_of<T>(values, source < 0 ? lane : source);
}

template <class T>
unsigned __match_any_sync(unsigned, T value) {
  const uint64_t* values = emulation::exchange(value);
  unsigned peers = 0;
  for (int lane = 0; lane < emulation::kWarp; ++lane)
    peers |= emulation::value_of<T>(values, lane) == value ? 1u << lane : 0u;
  return peers;
}

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

inline int atomicAdd(int* address, int value) {
  const int before = *address;
  *address += value;
  return before;
}

inline float __uint_as_float(unsigned bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

// ------------------------------------------------------------------------------------ on host

using cudaStream_t = void*;
enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorLaunchFailure = 719,
};

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess ? "no error" : "threads wait for others that never come";
}
inline cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t) {
  memset(data, value, bytes);
  return cudaSuccess;
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               const Arguments&... arguments) {
  using emulation::machine;
  const int threads = static_cast<int>(config->blockDim.x);
  if (static_cast<int>(machine.fibers.size()) != threads) {
    machine.fibers = std::vector<emulation::Fiber>(threads);
    machine.slots.resize(threads / emulation::kWarp);
  }
  machine.kernel = [&] { kernel(arguments...); };
  ++machine.launches;
  for (unsigned block = 0; block < config->gridDim.x; ++block) {
    blockIdx.x = machine.descends ? config->gridDim.x - 1 - block : block;
    if (emulation::run_block(threads)) continue;
    machine.fibers.clear();  // those that wait are lost
    return cudaErrorLaunchFailure;
  }
  return cudaSuccess;
}
