/* Runs the threads of a GPU's thread groups on the CPU, one group after another: each thread is a fiber, which stops
 * where it waits for its warp or its group. What breaks the rules of a GPU is an error: a barrier that part of a group
 * reaches, a shuffle that part of a warp reaches, threads that wait at different barriers. */
#ifndef PN_TESTS_GPU_FIBERS_H
#define PN_TESTS_GPU_FIBERS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { PN_EMULATED_WARP = 32, PN_EMULATED_MAX_THREADS = 1024 };

struct pn_emulated_place {
    unsigned x, y, z;
};

/* What a kernel sees of the thread that runs it. A library of kernels has one, under the name pn_emulated_state; the
 * emulator sets it before it continues a thread. */
struct pn_emulated_state {
    struct pn_emulated_place group, groups, threads, thread; /* blockIdx, gridDim, blockDim, threadIdx */
    float *shared;                                           /* the group's memory */
    void (*barrier)(int line);
    /* The value that a lane of the same warp gave to the same call. */
    unsigned (*exchange)(unsigned value, unsigned from, int line);
};

typedef void pn_emulated_kernel(const void *args);

enum { PN_EMULATED_FORWARD, PN_EMULATED_REVERSED, PN_EMULATED_SHUFFLED };

/* Runs a kernel of the library that `state` belongs to. The group's memory has `shared` bytes and ends at a guard page.
 * 0, or 1 after a complaint on standard error. */
int pn_emulate(struct pn_emulated_state *state, pn_emulated_kernel *run, const void *args, const unsigned groups[3],
               int threads, size_t shared, int order);

#ifdef __cplusplus
}
#endif

#endif
