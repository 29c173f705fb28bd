/* The sources that read text files of Linux. See source.h. */
#ifndef PN_MONITOR_LINUX_H
#define PN_MONITOR_LINUX_H

#include "monitor/source.h"

/* /proc/stat, cpufreq, and what the firmware throttled. */
extern const struct pn_source pn_source_processor;
/* /proc/meminfo and /proc/pressure. */
extern const struct pn_source pn_source_memory;
/* RAPL (powercap). */
extern const struct pn_source pn_source_rapl;
/* hwmon: temperatures, fans, power; thermal zones where hwmon has no temperatures. */
extern const struct pn_source pn_source_hwmon;
/* Graphics cards of AMD and Intel. */
extern const struct pn_source pn_source_drm;

#endif
