/* The emulated GPUs: tests/cuda-emulator and tests/metal-emulator. */
#ifndef PN_TESTS_EMULATED_H
#define PN_TESTS_EMULATED_H

#include <stdbool.h>

/* Loads one, if the build has it: from then on the device "cuda" or "metal" opens. With PANTRY_TEST_GPU in the
 * environment the tests use the machine's own driver and GPU for "cuda"; then `emulated_cuda` is true, and `real_cuda`
 * too. */
bool emulated_cuda(void);
bool emulated_metal(void);
bool real_cuda(void);

#endif
