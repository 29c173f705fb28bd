/* What Linux's control groups (versions 1 and 2) leave to this process. A group's limits hold for all groups below it,
 * so the smallest on the way from the process's own group up to the root counts. Reads text files and allocates
 * nothing. */
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

#endif
