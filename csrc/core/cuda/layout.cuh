// How the blocks of a kernel share an activation, by what lies together in memory.
//
// A block works on a tile of units and a part of the positions of one sample. Where a run of units
// lies together (channels last), the threads are `lanes` x rows: each lane has a vector of units,
// each row a position at a time. Where a run of positions lies together (channels first), groups
// of `lanes` threads have a unit each, and each lane a vector of positions at a time. Any other
// layout goes as the first, with vectors of one element.
#pragma once

#include "element.cuh"

namespace moda::cuda {

// An activation or its gradient in memory; strides count elements.
struct Strided {
  void* data;
  int64_t sample_stride;
  int64_t unit_stride;
  int64_t position_strides[MODA_POSITION_AXES];
};

struct Share {
  int32_t units;
  int32_t extents[MODA_POSITION_AXES];  // of the positions
  int32_t lanes;
  int32_t tiles;
  int32_t parts;
  int32_t chunk;  // items in a part: positions, or vectors of positions
};

// Where a block is.
struct Place {
  int64_t sample;
  int32_t tile, part;

  __device__ __forceinline__ Place(const Share& share, int32_t block) {
    const int32_t whole = block / share.tiles;
    tile = block - whole * share.tiles;
    sample = whole / share.parts;
    part = whole - static_cast<int32_t>(sample) * share.parts;
  }
};

__host__ __device__ __forceinline__ int32_t position_count(const Share& share) {
  return share.extents[0] * share.extents[1] * share.extents[2];
}

// In elements from the start of a unit.
__device__ __forceinline__ int64_t position_offset(const Share& share, const Strided& array,
                                                   int32_t position) {
  const int32_t outer_extent = share.extents[0] * share.extents[1];
  if (outer_extent == 1) return position * array.position_strides[2];
  const int32_t outer = position / share.extents[2];
  const int32_t slowest = outer / share.extents[1];
  return slowest * array.position_strides[0] +
         (outer - slowest * share.extents[1]) * array.position_strides[1] +
         (position - outer * share.extents[2]) * array.position_strides[2];
}

template <class T>
__device__ __forceinline__ T* start_of(const Strided& array, int64_t sample, int32_t unit) {
  return static_cast<T*>(array.data) + sample * array.sample_stride + unit * array.unit_stride;
}

// The units and positions of a thread where units lie together: unit, unit + 1, ... of a vector;
// positions first, first + step, ... below last.
template <int kWidth>
struct UnitRun {
  int32_t lane, row, unit, first, last, step;
  bool is_busy;

  __device__ __forceinline__ UnitRun(const Share& share, const Place& place) {
    const int32_t thread = static_cast<int32_t>(threadIdx.x);
    row = thread / share.lanes;
    lane = thread - row * share.lanes;
    unit = (place.tile * share.lanes + lane) * kWidth;
    step = kBlock / share.lanes;
    first = place.part * share.chunk + row;
    last = min((place.part + 1) * share.chunk, position_count(share));
    is_busy = row < step && unit < share.units;
  }
};

// The same where positions lie together: one unit; vectors of positions.
template <int kWidth>
struct PositionRun {
  int32_t lane, unit, first, last, step;
  bool is_busy;

  __device__ __forceinline__ PositionRun(const Share& share, const Place& place) {
    const int32_t thread = static_cast<int32_t>(threadIdx.x);
    const int32_t group = thread / share.lanes;
    lane = thread - group * share.lanes;
    unit = place.tile * (kBlock / share.lanes) + group;
    step = share.lanes;
    first = place.part * share.chunk + lane;
    last = min((place.part + 1) * share.chunk, position_count(share) / kWidth);
    is_busy = unit < share.units;
  }
};

// ------------------------------------------------------------------------------------ on host

inline int64_t divide_up(int64_t dividend, int64_t divisor) {
  return (dividend + divisor - 1) / divisor;
}

inline int64_t positions_of(const moda_activation& a) {
  return a.positions[0] * a.positions[1] * a.positions[2];
}

inline bool is_unit_run(const moda_activation& a) {
  return a.unit_stride == 1 || a.position_strides[MODA_POSITION_AXES - 1] != 1;
}

inline Strided strided(const moda_activation& a) {
  Strided array{const_cast<void*>(a.data), a.sample_stride, a.unit_stride, {}};
  for (int axis = 0; axis < MODA_POSITION_AXES; ++axis)
    array.position_strides[axis] = a.position_strides[axis];
  return array;
}

// Whether every vector of `width` elements along the run starts at a multiple of its size.
inline bool is_vectorisable(const moda_activation& a, int64_t width) {
  const bool unit_run = a.unit_stride == 1;
  if (!unit_run && is_unit_run(a)) return false;
  const int64_t run = unit_run ? a.units : a.positions[MODA_POSITION_AXES - 1];
  bool fits = is_aligned(a.data) && run % width == 0 && a.sample_stride % width == 0;
  if (!unit_run) fits = fits && a.unit_stride % width == 0;
  for (int axis = 0; axis < MODA_POSITION_AXES; ++axis) {
    const bool is_run = !unit_run && axis == MODA_POSITION_AXES - 1;
    if (!is_run && a.positions[axis] > 1) fits = fits && a.position_strides[axis] % width == 0;
  }
  return fits;
}

// Parts of one sample's positions. Shapes alone decide, so that the same sample comes to the same
// result in any batch and at any address.
inline int64_t part_count(const moda_activation& a, int64_t most) {
  constexpr int64_t kUnitRunBytes = 64 << 10, kPositionRunBytes = 16 << 10, kTileBytes = 4 << 10;
  const int64_t positions = positions_of(a), bytes = element_bytes(a.dtype);
  const int64_t tile_bytes = a.units * bytes < kTileBytes ? a.units * bytes : kTileBytes;
  const int64_t parts = is_unit_run(a) ? divide_up(positions * tile_bytes, kUnitRunBytes)
                                       : divide_up(positions * bytes, kPositionRunBytes);
  return parts < most ? parts : most;
}

inline int32_t next_power_of_two(int64_t value) {
  int32_t power = 1;
  while (power < value) power *= 2;
  return power;
}

// Lanes for the vectors of one unit: enough loads for each to be worth the sum over lanes.
inline int32_t lanes_of_position_run(int64_t vectors) {
  constexpr int64_t kLoads = 4, kFewest = 8;
  if (vectors <= kFewest) return next_power_of_two(vectors);
  const int64_t lanes = vectors / kLoads;
  return lanes >= kWarp ? kWarp : next_power_of_two(lanes < kFewest ? kFewest : lanes);
}

inline Share share_of(const moda_activation& a, int64_t width, int64_t parts) {
  Share share{};
  share.units = static_cast<int32_t>(a.units);
  for (int axis = 0; axis < MODA_POSITION_AXES; ++axis)
    share.extents[axis] = static_cast<int32_t>(a.positions[axis]);
  share.parts = static_cast<int32_t>(parts);
  if (is_unit_run(a)) {
    const int64_t vectors = divide_up(a.units, width);
    share.tiles = static_cast<int32_t>(divide_up(vectors, kBlock));
    share.lanes = static_cast<int32_t>(divide_up(vectors, share.tiles));
    share.chunk = static_cast<int32_t>(divide_up(positions_of(a), parts));
  } else {
    const int64_t vectors = positions_of(a) / width;
    share.lanes = lanes_of_position_run(vectors);
    share.tiles = static_cast<int32_t>(divide_up(a.units, kBlock / share.lanes));
    share.chunk = static_cast<int32_t>(divide_up(vectors, parts));
  }
  return share;
}

inline int64_t block_count(const Share& share, int64_t samples) {
  return samples * share.tiles * share.parts;
}

}  // namespace moda::cuda
