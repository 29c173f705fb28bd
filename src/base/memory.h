/* The memory budget of this process: what weights, scratch, pages of keys and values, and recurrent states are taken
 * from before they exist, so that what cannot fit is refused in words and the system never has to end the process.
 *
 * Two things bound it. The system: main memory less what other processes use, and control groups. And the user, who may
 * set a limit. What pantry allocates counts in full. Weights are mapped files, which the system can drop and read
 * again: against the user's limit they count in full, as nothing else would keep them within it; against the system's
 * with the bytes that one token reads, and never with more than half, so that a model larger than memory still runs,
 * if slowly. */
#ifndef PN_BASE_MEMORY_H
#define PN_BASE_MEMORY_H

#include "base/os.h"
#include "base/status.h"

#include <pthread.h>

struct pn_memory {
    pthread_mutex_t lock;
    void (*look)(struct pn_os_memory *out); /* pn_os_memory, or a test's */
    uint64_t limit;                         /* the user's; 0: none */
    uint64_t weight_bytes, step_bytes;      /* of all models: all weights, and those that one token reads */
    uint64_t taken;                         /* by everything else */
    atomic_uint_fast64_t touched;           /* of `taken`, what the system has had to give already */
};

/* Of the memory that the processor uses; it lives as long as the process. */
struct pn_memory *pn_memory_of_process(void);

void pn_memory_set_limit(struct pn_memory *m, uint64_t bytes);
/* Counts a model's weights, or refuses where they are above the user's limit; `what` begins the sentence. */
pantry_status pn_memory_add_weights(struct pn_memory *m, uint64_t bytes, uint64_t step_bytes, const char *what,
                                    struct pantry_error *err);
void pn_memory_remove_weights(struct pn_memory *m, uint64_t bytes, uint64_t step_bytes);

/* Takes `bytes` or says in one sentence what is needed and what is left: "WHAT needs 4.1 GiB of memory, but ...". */
pantry_status pn_memory_take(struct pn_memory *m, uint64_t bytes, const char *what, struct pantry_error *err);
/* Whether pn_memory_take would succeed now; takes nothing, so that others notice nothing of it. */
pantry_status pn_memory_check(struct pn_memory *m, uint64_t bytes, const char *what, struct pantry_error *err);
void pn_memory_give(struct pn_memory *m, uint64_t bytes);
/* Of what was taken, `bytes` more (or, below 0, less) are in use now. From any thread; allocates nothing. */
void pn_memory_touch(struct pn_memory *m, int64_t bytes);

/* Bytes that may still be taken. */
uint64_t pn_memory_left(struct pn_memory *m);
/* The addresses that one pool may reserve: no more than could ever be filled, and, where the system counts addresses as
 * memory, a quarter of what it leaves. */
uint64_t pn_memory_addresses(struct pn_memory *m);

/* "12 MiB", "4.1 GiB", for sentences. */
struct pn_digits pn_memory_text(uint64_t bytes);

#endif
