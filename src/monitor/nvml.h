/* NVIDIA's management library, opened at run time. */
#ifndef PN_MONITOR_NVML_H
#define PN_MONITOR_NVML_H

#include "monitor/source.h"

/* The functions that are used, as NVML's reference defines them; a test puts its own here. */
struct pn_nvml {
    void *library;
    int (*init)(void);
    int (*shutdown)(void);
    int (*count)(unsigned *n);
    int (*device)(unsigned index, void **device);
    int (*name)(void *device, char *out, unsigned size);
    int (*use)(void *device, unsigned percent[2]);             /* of the cores, of the memory */
    int (*memory)(void *device, unsigned long long bytes[3]);  /* total, free, used; the driver's own counts as used */
    int (*memory2)(void *device, unsigned long long bytes[5]); /* version, total, reserved, free, used; NULL: too old */
    int (*power)(void *device, unsigned *milliwatts);
    int (*temperature)(void *device, int sensor, unsigned *celsius);
    int (*clock)(void *device, int kind, unsigned *mhz);
    int (*reasons)(void *device, unsigned long long *bits);
    int (*processes)(void *device, unsigned *n, void *out); /* out: rows of 24 bytes; NULL: too old */
};

/* False, with a reason: there is none here. */
bool pn_nvml_open(struct pn_nvml *out, char why[PN_WHY]);
/* Adds the GPUs to the sample. */
void pn_nvml_read(const struct pn_nvml *nvml, struct pn_sample *s);

extern const struct pn_source pn_source_nvml;

#endif
