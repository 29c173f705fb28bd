/* The emulated CUDA driver of tests/cuda-emulator. */
#ifndef PN_TESTS_EMULATED_H
#define PN_TESTS_EMULATED_H

#include <stdbool.h>

/* Loads it, if the build has it: from then on the device "cuda" opens. With PANTRY_TEST_GPU in the environment the
 * tests use the machine's own driver and GPU instead; then `emulated_cuda` is true, and `real_cuda` too. */
bool emulated_cuda(void);
bool real_cuda(void);

#endif
