/* What only the operating system knows. One file per system: os_linux.c, os_darwin.c. */
#ifndef PN_BASE_OS_H
#define PN_BASE_OS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Physical cores that this process may run on (hardware threads of one core count once), at least 1. This and the next
 * count respect the calling thread's affinity and the control groups' processor time. */
int pn_os_physical_cores(void);
/* Hardware threads that this process may run on, at least 1. */
int pn_os_processors(void);
/* Main memory in bytes, 0 if unknown. */
uint64_t pn_os_memory_bytes(void);
/* The current state of memory, in bytes; UINT64_MAX: unknown, or no limit. */
struct pn_os_memory {
    uint64_t total;                   /* main memory */
    uint64_t available;               /* not used by processes; cached files count as available */
    uint64_t group_limit, group_left; /* control groups: see cgroup.h */
    uint64_t addresses;               /* may still be mapped where they are limited (ulimit, strict overcommit) */
};
void pn_os_memory(struct pn_os_memory *out);
/* Zeroed pages, large ones wherever whole ones fit; NULL when out of memory. Free them with the same number of bytes.
 */
void *pn_os_large_pages(size_t bytes);
void pn_os_free_pages(void *pages, size_t bytes);
/* Returns the memory of whole pages of a mapping to the system. Their contents are lost, the addresses stay mapped. */
void pn_os_discard(void *start, size_t bytes);
/* Gives freed memory that the allocator keeps back to the system, also what it keeps for the calling thread. Takes
 * milliseconds. */
void pn_os_trim(void);
/* One heap for all threads, so that pn_os_trim reaches all that they freed: glibc keeps the end of every other heap.
 * Call it before there are threads. */
void pn_os_share_heap(void);

/* Returns what the allocator keeps for the calling thread alone, so that a later pn_os_trim reaches it. For threads
 * that go on after much work; those that end do so anyway. Takes a tenth of a millisecond. */
void pn_os_release_thread(void);

/* Makes `to`, which must not exist, a copy of an open file that shares its blocks until one of them changes. False,
 * with nothing made, where the file system cannot. */
bool pn_os_clone_file(int from, const char *to);

/* Drops what the system keeps in memory of an open file, so that the next read comes from the disk. Written data must
 * be on the disk already. */
void pn_os_forget_file(int fd);
/* The most memory that a Mac's user lets the GPU wire (iogpu.wired_limit_mb), in bytes. 0: not set, or not a Mac. */
uint64_t pn_os_wired_limit(void);

/* Sleeps while *word is `value`. Returns when woken, at once if *word already differs, and sometimes spuriously. */
void pn_os_wait(atomic_uint *word, unsigned value);
/* Wakes all threads that wait for `word`. Change it first. */
void pn_os_wake_all(atomic_uint *word);

/* A condition whose timeouts use a monotonic clock. */
void pn_os_cond_init(pthread_cond_t *cond);
/* Waits at most `ns` nanoseconds for a signal; may return spuriously. */
void pn_os_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t ns);

#endif
