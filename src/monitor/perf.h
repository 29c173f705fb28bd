/* The counters of memory controllers (perf "uncore" units): what /sys says about them. Opening them is os_linux.c's. */
#ifndef PN_MONITOR_PERF_H
#define PN_MONITOR_PERF_H

#include <stdbool.h>
#include <stdint.h>

enum { PN_MAX_COUNTERS = 256 };

struct pn_counter {
    uint32_t type;      /* of perf_event_attr */
    uint64_t config[3]; /* its config, config1, config2 */
    int cpu;            /* on which it is opened */
    double bytes;       /* per count */
    bool writes;        /* bytes written, and not read */
};

/* All counters of bytes of Intel's and AMD's memory controllers; their number, at most PN_MAX_COUNTERS. */
int pn_perf_counters(const char *root, struct pn_counter *out);
/* "event=0x04,umask=0x03" as the configuration of a unit, whose folder `format` says which bits each word has. False:
 * a word is unknown, or a number does not fit. */
bool pn_perf_event(const char *root, const char *format, const char *event, uint64_t config[3]);

#endif
