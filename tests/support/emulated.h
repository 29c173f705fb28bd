/* The emulated CUDA driver of tests/cuda-emulator. */
#ifndef PN_TESTS_EMULATED_H
#define PN_TESTS_EMULATED_H

#include <stdbool.h>

/* Loads it, if the build has it: from then on the device "cuda" opens. */
bool emulated_cuda(void);

#endif
