// A small pool of threads. No OpenMP: frameworks bring their own, and two of them stall each other.
#pragma once

#include <cstdint>
#include <functional>

namespace moda {

// Runs body(i) for every i in [0, tasks) and returns when all are done; the caller takes part.
// Serial when `bytes`, what the tasks touch, is too little to be worth a wake-up, when the pool has
// one thread, and when another thread is using the pool. If a body throws, the others still run, and
// std::bad_alloc, the only reason it can have, is thrown here.
void parallel_for(int64_t tasks, int64_t bytes, const std::function<void(int64_t)>& body);

void set_threads(int threads);
int threads();

}  // namespace moda
