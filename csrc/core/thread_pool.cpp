#include "thread_pool.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#if !defined(_WIN32)
#include <pthread.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace moda {
namespace {

constexpr int64_t kSerialBytes = 1 << 20;

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
  explicit Pool(int width) : width(width) {
    for (int i = 1; i < width; ++i) {
      try {
        workers.emplace_back([this] { work(); });
      } catch (const std::system_error&) {
        break;  // fewer threads than asked for; the results are the same
      }
    }
  }

  // Nobody runs tasks: whoever does holds a pointer to the pool.
  ~Pool() {
    {
      std::lock_guard<std::mutex> lock(mutex);
      stopped = true;
    }
    wake.notify_all();
    for (std::thread& worker : workers) worker.join();
  }

  void run(int64_t count, const std::function<void(int64_t)>& task) {
    {
      std::lock_guard<std::mutex> lock(mutex);
      body = &task;
      tasks = count;
      next.store(0);
      busy = workers.size();
      ++round;
    }
    wake.notify_all();
    drain(task, count);
    std::unique_lock<std::mutex> lock(mutex);
    done.wait(lock, [this] { return busy == 0; });
  }

  bool has_workers() const { return !workers.empty(); }

  const int width;
  std::mutex user;

 private:
  void work() {
    uint64_t seen = 0;
    std::unique_lock<std::mutex> lock(mutex);
    for (;;) {
      wake.wait(lock, [&] { return stopped || round != seen; });
      if (stopped) return;
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
  size_t busy = 0;
  bool stopped = false;
  std::vector<std::thread> workers;
};

// The pool of this process. Its width is what threads() says: a call that finds another width
// replaces it.
struct Owner {
  std::mutex mutex;
  std::shared_ptr<Pool> pool;
  bool exited = false;
};

// Never destroyed: a thread may ask for the pool while the process exits.
Owner& owner() {
  static auto& the_owner = *new Owner();
  return the_owner;
}

std::atomic<int> requested{0};

#if !defined(_WIN32)
void before_fork() { owner().mutex.lock(); }
void after_fork_in_parent() { owner().mutex.unlock(); }
// A child has none of the threads, so nobody can join them: it forgets the pool and makes its own.
void after_fork_in_child() {
  new (&owner().pool) std::shared_ptr<Pool>();
  owner().mutex.unlock();
}

// Under Windows, a library must not wait for threads while the process exits.
void join_at_exit() {
  std::shared_ptr<Pool> last;
  std::lock_guard<std::mutex> lock(owner().mutex);
  owner().exited = true;
  last.swap(owner().pool);
}
#endif

// None while the process exits.
std::shared_ptr<Pool> pool() {
#if !defined(_WIN32)
  static const int registered = pthread_atfork(before_fork, after_fork_in_parent,
                                               after_fork_in_child) + std::atexit(join_at_exit);
  (void)registered;
#endif
  std::lock_guard<std::mutex> lock(owner().mutex);
  if (owner().exited) return nullptr;
  if (!owner().pool || owner().pool->width != threads())
    owner().pool = std::make_shared<Pool>(threads());
  return owner().pool;
}

void run_serially(int64_t tasks, const std::function<void(int64_t)>& body) {
  for (int64_t i = 0; i < tasks; ++i) body(i);
}

}  // namespace

int threads() {
  const int asked = requested.load();
  return asked > 0 ? asked : default_threads();
}

void set_threads(int threads) { requested.store(std::max(0, threads)); }

void parallel_for(int64_t tasks, int64_t bytes, const std::function<void(int64_t)>& body) {
  if (tasks < 2 || bytes < kSerialBytes) return run_serially(tasks, body);
  const std::shared_ptr<Pool> shared = pool();
  if (!shared || !shared->has_workers()) return run_serially(tasks, body);
  std::unique_lock<std::mutex> lock(shared->user, std::try_to_lock);
  if (!lock.owns_lock()) return run_serially(tasks, body);
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
