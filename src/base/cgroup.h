/* The memory and processors that this process may use, from the text files of Linux.
 *
 * A control group's limits (versions 1 and 2) apply to all groups below it, so the smallest limit between the process's
 * own group and the root counts. */
#ifndef PN_BASE_CGROUP_H
#define PN_BASE_CGROUP_H

#include <stdint.h>

struct pn_cgroup {
    uint64_t memory_limit; /* bytes; UINT64_MAX: none */
    uint64_t memory_left;  /* the least left in any of the groups; cached file pages count as left */
    double n_cpus;         /* processors' worth of time; 0: no limit */
};

/* `root` is prepended to every path: "" on a real system, a folder of fixtures in tests. An unreadable file sets no
 * limit. */
void pn_cgroup_read(const char *root, struct pn_cgroup *out);
/* How many of `n` threads may run all the time; at least 1. */
int pn_cgroup_threads(const struct pn_cgroup *group, int n);

/* /proc/meminfo in bytes; UINT64_MAX: unknown. */
struct pn_meminfo {
    uint64_t available;
    uint64_t commit_left; /* may still be allocated under strict overcommit (vm.overcommit_memory = 2) */
};
void pn_meminfo_read(const char *root, struct pn_meminfo *out);

#endif
