/* Rights that a process gives up for good: Linux's landlock (files) and seccomp (system calls), where the kernel has
 * them. Other systems and older kernels have neither, and the process goes on as it is. */
#ifndef PN_BASE_SANDBOX_H
#define PN_BASE_SANDBOX_H

#include "base/status.h"

#include <stdbool.h>

struct pn_sandbox {
    const char *const *read;  /* files and folders with all below them; up to NULL. Missing ones are left out */
    const char *const *write; /* the same, also for writing, making, renaming and removing */
    const char *remove_in;    /* a folder of which files may be removed, or NULL */
};

struct pn_sandbox_held {
    bool files; /* nothing else can be opened, and no TCP port be bound */
    bool calls; /* no program can be started, no process be traced, nothing be mounted, ... */
};

/* Whether this system has any of it. */
bool pn_sandbox_exists(void);
/* Restricts the calling thread and those that it starts later, so call it before there are others. What cannot be
 * restricted is left as it is and reported. */
pantry_status pn_sandbox_enter(const struct pn_sandbox *sandbox, struct pn_sandbox_held *held,
                               struct pantry_error *err);

#endif
