// How kernels are launched.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "moda_core.h"

namespace moda::cuda {

// Every kernel runs in blocks of this size.
constexpr int kWarp = 32;
constexpr int kWarps = 8;
constexpr int kBlock = kWarp * kWarps;

// Kernels of every CUDA version take this much.
constexpr size_t kParameterBytes = 4096;

// Enqueues kernels on one stream; after a failure it enqueues nothing more.
class Launcher {
 public:
  explicit Launcher(void* stream) : stream_(static_cast<cudaStream_t>(stream)) {}

  template <class... Parameters, class... Arguments>
  void operator()(void (*kernel)(Parameters...), int64_t blocks, const Arguments&... arguments) {
    static_assert((sizeof(Parameters) + ... + size_t{0}) <= kParameterBytes);
    if (error_ != cudaSuccess || blocks == 0) return;
    if (blocks > INT32_MAX) return check(cudaErrorInvalidConfiguration);
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(blocks));
    config.blockDim = dim3(kBlock);
    config.stream = stream_;
    check(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...));
  }

  void clear(void* data, size_t bytes) {
    if (error_ == cudaSuccess && bytes > 0) check(cudaMemsetAsync(data, 0, bytes, stream_));
  }

  cudaError_t error() const { return error_; }

 private:
  void check(cudaError_t error) {
    error_ = error;
    if (error != cudaSuccess) cudaGetLastError();  // or the next call of anyone would report it
  }

  const cudaStream_t stream_;
  cudaError_t error_ = cudaSuccess;
};

}  // namespace moda::cuda
