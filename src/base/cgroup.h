/* What Linux's text files say about the memory and the processors that this process may use.
 *
 * A control group's limits (versions 1 and 2) hold for all groups below it, so the smallest on the way from the
 * process's own group up to the root counts. */
#ifndef PN_BASE_CGROUP_H
#define PN_BASE_CGROUP_H

#include <stdint.h>

struct pn_cgroup {
    uint64_t memory_limit; /* bytes; UINT64_MAX: none */
    uint64_t memory_left;  /* the least that one of the groups has left; cached file pages count as left */
    double n_cpus;         /* processor time in a unit of time; 0: no limit */
};

/* `root` is what stands before every path: "" on a living system, a folder of fixtures in tests. What cannot be read
 * limits nothing. */
void pn_cgroup_read(const char *root, struct pn_cgroup *out);
/* How many of `n` threads may run all the time: at least 1. */
int pn_cgroup_threads(const struct pn_cgroup *group, int n);

/* /proc/meminfo in bytes; UINT64_MAX: not said. */
struct pn_meminfo {
    uint64_t available;
    uint64_t commit_left; /* that may still be allocated where every page is promised (vm.overcommit_memory = 2) */
};
void pn_meminfo_read(const char *root, struct pn_meminfo *out);

#endif
