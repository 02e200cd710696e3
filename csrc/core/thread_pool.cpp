#include "thread_pool.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#if defined(_WIN32)
#include <process.h>
#else
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace moda {
namespace {

constexpr int64_t kSerialBytes = 1 << 20;

int process_id() {
#if defined(_WIN32)
  return _getpid();
#else
  return static_cast<int>(getpid());
#endif
}

int available_processors() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int default_threads() {
  const char* limit = std::getenv("OMP_NUM_THREADS");
  const int wanted = limit ? std::atoi(limit) : 0;
  const int available = available_processors();
  return wanted > 0 ? std::min(wanted, available) : available;
}

class Pool {
 public:
  explicit Pool(int width) : width(width), process(process_id()) {
    for (int i = 1; i < width; ++i) {
      try {
        // Detached: a thread that waits at exit, or that a fork left behind, is nobody's to join.
        std::thread([this] { work(); }).detach();
        ++workers;
      } catch (const std::system_error&) {
        break;  // fewer threads than asked for, the results are the same
      }
    }
  }

  void run(int64_t count, const std::function<void(int64_t)>& task) {
    {
      std::lock_guard<std::mutex> lock(mutex);
      body = &task;
      tasks = count;
      next.store(0);
      busy = workers;
      ++round;
    }
    wake.notify_all();
    drain(task, count);
    std::unique_lock<std::mutex> lock(mutex);
    done.wait(lock, [this] { return busy == 0; });
  }

  bool has_workers() const { return workers > 0; }

  const int width, process;
  std::mutex user;

 private:
  void work() {
    uint64_t seen = 0;
    std::unique_lock<std::mutex> lock(mutex);
    for (;;) {
      wake.wait(lock, [&] { return round != seen; });
      seen = round;
      const std::function<void(int64_t)>* task = body;
      const int64_t count = tasks;
      lock.unlock();
      drain(*task, count);
      lock.lock();
      if (--busy == 0) done.notify_one();
    }
  }

  void drain(const std::function<void(int64_t)>& task, int64_t count) {
    for (int64_t i; (i = next.fetch_add(1)) < count;) task(i);
  }

  std::mutex mutex;
  std::condition_variable wake, done;
  const std::function<void(int64_t)>* body = nullptr;
  int64_t tasks = 0;
  std::atomic<int64_t> next{0};
  uint64_t round = 0;
  int workers = 0;
  int busy = 0;
};

std::mutex pool_mutex;
std::atomic<int> requested{0};
Pool* current = nullptr;

// Every pool there has been, for one that is replaced may be in use. Never destroyed, for its
// threads wait until the process ends.
std::vector<Pool*>& pools() {
  static auto& all = *new std::vector<Pool*>();
  return all;
}

Pool* pool_of(int width) {
  for (Pool* pool : pools())
    if (pool->width == width && pool->process == process_id()) return pool;
  pools().push_back(new Pool(width));
  return pools().back();
}

#if !defined(_WIN32)
// A child has none of the threads, and locks and lists as they happened to be: it starts anew.
void forget_pool_in_child() {
  new (&pool_mutex) std::mutex();
  new (&pools()) std::vector<Pool*>();
  current = nullptr;
}
#endif

Pool* pool() {
#if !defined(_WIN32)
  static const int registered = pthread_atfork(nullptr, nullptr, forget_pool_in_child);
  (void)registered;
#endif
  std::lock_guard<std::mutex> lock(pool_mutex);
  if (!current || current->process != process_id()) current = pool_of(threads());
  return current;
}

void run_serially(int64_t tasks, const std::function<void(int64_t)>& body) {
  for (int64_t i = 0; i < tasks; ++i) body(i);
}

}  // namespace

int threads() {
  const int asked = requested.load();
  return asked > 0 ? asked : default_threads();
}

void set_threads(int threads) {
  std::lock_guard<std::mutex> lock(pool_mutex);
  requested.store(std::max(0, threads));
  current = nullptr;
}

void parallel_for(int64_t tasks, int64_t bytes, const std::function<void(int64_t)>& body) {
  if (tasks < 2 || bytes < kSerialBytes) return run_serially(tasks, body);
  Pool* shared = pool();
  std::unique_lock<std::mutex> lock(shared->user, std::try_to_lock);
  if (!lock.owns_lock() || !shared->has_workers()) return run_serially(tasks, body);
  std::atomic<bool> failed{false};
  shared->run(tasks, [&](int64_t i) {
    try {
      body(i);
    } catch (...) {
      failed.store(true);
    }
  });
  if (failed.load()) throw std::bad_alloc();
}

}  // namespace moda
