// The caller's workspace, cut into arrays.
#pragma once

#include "launch.cuh"

namespace moda::cuda {

constexpr int64_t kWorkspaceAlignment = 256;

class Workspace {
 public:
  // Without memory it only adds up what would be needed.
  explicit Workspace(void* base = nullptr) : base_(reinterpret_cast<uintptr_t>(base)) {}

  template <class T>
  T* take(int64_t count) {
    T* array = reinterpret_cast<T*>(base_ + static_cast<uintptr_t>(bytes_));
    const int64_t wanted = count * static_cast<int64_t>(sizeof(T));
    bytes_ += (wanted + kWorkspaceAlignment - 1) / kWorkspaceAlignment * kWorkspaceAlignment;
    return array;
  }

  int64_t bytes() const { return bytes_; }

 private:
  const uintptr_t base_;
  int64_t bytes_ = 0;
};

}  // namespace moda::cuda
