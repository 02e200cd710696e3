// What a kernel is to do, by value: one launch serves as many activations as its parameters hold,
// and nothing has to be copied to the device first.
#pragma once

#include "launch.cuh"

namespace moda::cuda {

// Kernels of every CUDA version take 4 KB of parameters; this leaves room for a few others.
constexpr size_t kTableBytes = 3584;

// Entries must have `first_block`, the first block that works on them.
template <class Entry>
struct Table {
  static constexpr int kCapacity = (kTableBytes - sizeof(int64_t)) / sizeof(Entry);
  int32_t size;
  Entry entries[kCapacity];
};

// The entry that this block works on.
template <class Entry>
__device__ __forceinline__ const Entry& entry_of_block(const Table<Entry>& table) {
  int first = 0, last = table.size - 1;
  while (first < last) {
    const int middle = (first + last + 1) / 2;
    if (table.entries[middle].first_block <= static_cast<int32_t>(blockIdx.x))
      first = middle;
    else
      last = middle - 1;
  }
  return table.entries[first];
}

template <class Entry>
__device__ __forceinline__ int32_t block_of_entry(const Entry& entry) {
  return static_cast<int32_t>(blockIdx.x) - entry.first_block;
}

// Fills tables and hands each to `launch(table, blocks)` when it is full, and on finish().
template <class Entry, class Launch>
class TableFiller {
 public:
  explicit TableFiller(Launch launch) : launch_(launch) { table_.size = 0; }

  void add(Entry entry, int64_t blocks) {
    if (blocks == 0) return;
    if (table_.size == Table<Entry>::kCapacity || blocks_ + blocks > INT32_MAX) finish();
    entry.first_block = static_cast<int32_t>(blocks_);
    table_.entries[table_.size++] = entry;
    blocks_ += blocks;
  }

  void finish() {
    if (table_.size > 0) launch_(table_, blocks_);
    table_.size = 0;
    blocks_ = 0;
  }

 private:
  Launch launch_;
  Table<Entry> table_;
  int64_t blocks_ = 0;
};

template <class Entry, class Launch>
TableFiller<Entry, Launch> table_filler(Launch launch) {
  return TableFiller<Entry, Launch>(launch);
}

}  // namespace moda::cuda
