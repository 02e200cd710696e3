// What the tests ask of the emulation.
#include <cuda_runtime.h>

extern "C" {

__attribute__((visibility("default"))) void emulation_descend(int descends) {
  emulation::machine.descends = descends != 0;
}

// Launches so far.
__attribute__((visibility("default"))) int64_t emulation_launches() {
  return emulation::machine.launches;
}

}  // extern "C"
