/* Runs the threads of a GPU's thread group on one processor thread: each is a fiber that runs until it waits for others,
 * at a barrier of the group or for the lanes of its warp. The order in which fibers run can vary, so that a missing
 * barrier gives wrong results, and what a GPU leaves undefined is an error: a barrier or an exchange that only some
 * threads reach. */
#ifndef PN_TESTS_FIBERS_H
#define PN_TESTS_FIBERS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { PN_FIBERS_MAX = 1024, PN_FIBERS_WARP = 32, PN_FIBERS_SLOT = 64 };

enum pn_fibers_order { PN_FIBERS_FORWARD, PN_FIBERS_REVERSED, PN_FIBERS_SHUFFLED };

/* Runs body(context) as `threads` fibers until all have ended; 0, or -1 with the reason in pn_fibers_error(). A failed
 * group is abandoned: its fibers do not run on. */
int pn_fibers_run(void (*body)(void *), void *context, int threads, enum pn_fibers_order order);
const char *pn_fibers_error(void);

/* In a fiber: its place in the group. */
int pn_fiber_thread(void);
/* Waits until all threads are here; `where` names the place in the source. */
void pn_fiber_barrier(int where);
/* Gives `size` bytes (at most PN_FIBERS_SLOT) to the other lanes and waits until all lanes of the warp gave theirs. */
void pn_fiber_give(const void *value, size_t size);
/* What a lane gave, until this fiber gives again. */
const void *pn_fiber_given(int lane);

#ifdef __cplusplus
}
#endif

#endif
