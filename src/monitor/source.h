/* A source of samples: it keeps what it needs between two samples and adds what it reads. The list of sources is the
 * operating system's (os_linux.c, os_darwin.c). */
#ifndef PN_MONITOR_SOURCE_H
#define PN_MONITOR_SOURCE_H

#include "monitor/sample.h"

struct pn_source {
    const char *name;
    /* `root` is prepended to every path: "" on a real system, a folder of fixtures in tests; it outlives the state.
     * NULL: out of memory. */
    void *(*open)(const char *root);
    /* s->seconds says how much time has passed; NAN: this is the first sample. */
    void (*read)(void *state, struct pn_sample *s);
    void (*close)(void *state);
};

/* All sources of this system, up to NULL. */
extern const struct pn_source *const pn_sources[];

#endif
