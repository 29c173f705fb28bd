/* The emulated GPUs: tests/cuda-emulator and tests/metal-emulator. */
#ifndef PN_TESTS_EMULATED_H
#define PN_TESTS_EMULATED_H

#include <stdbool.h>

/* Loads one, if the build has it: from then on the device "cuda" or "metal" opens. */
bool emulated_cuda(void);
bool emulated_metal(void);

#endif
