/* The memory budget of this process. Weights, scratch, pages of keys and values, and recurrent states are taken from it
 * before they are allocated, so that a request that cannot fit fails with an error and the system never kills the
 * process.
 *
 * The system bounds it (main memory less what other processes use, and control groups), and the user may set a limit.
 * Allocations count in full. Weights are mapped files, which the system can drop and read again. They count in full
 * against the user's limit, since nothing else would enforce it. Against the system's bounds they count with the bytes
 * that one token reads, and at most with half of the bound, so that a model larger than memory still runs, if slowly.
 */
#ifndef PN_BASE_MEMORY_H
#define PN_BASE_MEMORY_H

#include "base/os.h"
#include "base/status.h"

#include <pthread.h>

struct pn_memory {
    pthread_mutex_t lock;
    void (*look)(struct pn_os_memory *out); /* pn_os_memory, or a test's version */
    uint64_t limit;                         /* the user's; 0: none */
    uint64_t weight_bytes, step_bytes;      /* of all models: all weights, and those that one token reads */
    uint64_t taken;                         /* by everything else */
    atomic_uint_fast64_t touched;           /* the part of `taken` that is in use already */
};

/* The budget of the processor's memory, which lives as long as the process. */
struct pn_memory *pn_memory_of_process(void);

void pn_memory_set_limit(struct pn_memory *m, uint64_t bytes);
/* Counts a model's weights, or fails if they exceed the user's limit; `what` begins the error. */
pantry_status pn_memory_add_weights(struct pn_memory *m, uint64_t bytes, uint64_t step_bytes, const char *what,
                                    struct pantry_error *err);
void pn_memory_remove_weights(struct pn_memory *m, uint64_t bytes, uint64_t step_bytes);

/* Takes `bytes`, or fails with the bytes needed and left: "WHAT needs 4.1 GiB of memory, but ...". */
pantry_status pn_memory_take(struct pn_memory *m, uint64_t bytes, const char *what, struct pantry_error *err);
/* Whether pn_memory_take would succeed now; takes nothing. */
pantry_status pn_memory_check(struct pn_memory *m, uint64_t bytes, const char *what, struct pantry_error *err);
void pn_memory_give(struct pn_memory *m, uint64_t bytes);
/* `bytes` more of what was taken are in use (negative: fewer). From any thread; allocates nothing. */
void pn_memory_touch(struct pn_memory *m, int64_t bytes);

/* Bytes left to take. */
uint64_t pn_memory_left(struct pn_memory *m);
/* Bytes of addresses that one pool may reserve: no more than could ever be filled and, where the system counts
 * addresses as memory, a quarter of what is left. */
uint64_t pn_memory_addresses(struct pn_memory *m);

/* "12 MiB", "4.1 GiB", for messages. */
struct pn_digits pn_memory_text(uint64_t bytes);

#endif
