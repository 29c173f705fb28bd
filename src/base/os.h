/* What only the operating system knows. One file a system: os_linux.c, os_darwin.c. */
#ifndef PN_BASE_OS_H
#define PN_BASE_OS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Physical cores that this process may run on (hardware threads of one core count once), at least 1. Both counts are
 * bounded by the affinity of the calling thread and by the processor time that control groups give. */
int pn_os_physical_cores(void);
/* Hardware threads that this process may run on, at least 1. */
int pn_os_processors(void);
/* Main memory in bytes, 0 if unknown. */
uint64_t pn_os_memory_bytes(void);
/* What memory there is now, in bytes; UINT64_MAX: not known, or no limit. */
struct pn_os_memory {
    uint64_t total;                   /* main memory */
    uint64_t available;               /* of it, what processes leave; cached files count as left */
    uint64_t group_limit, group_left; /* control groups: see cgroup.h */
    uint64_t addresses;               /* that may still be mapped where they are counted (ulimit, strict overcommit) */
};
void pn_os_memory(struct pn_os_memory *out);
/* Zeroed pages, large ones where the system has them and they fit in whole; NULL when memory is out. Freed with the
 * same number of bytes. */
void *pn_os_large_pages(size_t bytes);
void pn_os_free_pages(void *pages, size_t bytes);
/* Gives the memory below whole pages of a mapping back to the system; what they held is lost, the addresses stay. */
void pn_os_discard(void *start, size_t bytes);

/* Sleeps while *word is `value`: returns when somebody wakes it, at once if *word is something else already, and
 * sometimes for no reason. */
void pn_os_wait(atomic_uint *word, unsigned value);
/* Ends the sleep of all who wait for `word`; it must have been changed before. */
void pn_os_wake_all(atomic_uint *word);

/* A condition whose waits are measured by a clock that nobody sets. */
void pn_os_cond_init(pthread_cond_t *cond);
/* Waits for a signal, for `ns` nanoseconds at most; sometimes returns for no reason. */
void pn_os_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t ns);

#endif
