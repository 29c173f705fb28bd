/* Watches the machine: takes samples from all sources of this system. */
#ifndef PN_MONITOR_MONITOR_H
#define PN_MONITOR_MONITOR_H

#include "base/status.h"
#include "monitor/sample.h"

struct pn_monitor;

/* `root` as in source.h; it is copied. */
pantry_status pn_monitor_new(const char *root, struct pn_monitor **out, struct pantry_error *err);
/* Fills *s. Rates are those since the sample before, so that the first has none. */
void pn_monitor_take(struct pn_monitor *monitor, struct pn_sample *s);
void pn_monitor_free(struct pn_monitor *monitor);

#endif
