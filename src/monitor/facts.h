/* What of a machine does not change from second to second, and matters for the speed of models. */
#ifndef PN_MONITOR_FACTS_H
#define PN_MONITOR_FACTS_H

#include <stdbool.h>
#include <stddef.h>

struct pn_facts {
    char governor[32], driver[32], preference[32]; /* of the processor's clock (cpufreq); "": unknown */
    char large_pages[32];                          /* transparent large pages: always, madvise, never; "": unknown */
    char flags[512]; /* vector and matrix instructions of the processor, by the names of /proc/cpuinfo */
};

/* Reads text files of Linux below `root` ("" on a real system); elsewhere all stays unknown. */
void pn_facts_read(const char *root, struct pn_facts *out);

#endif
