/* What is known of this machine: machine.json in the folder of pantry, which `pantry fit` and `pantry bench` write and
 * `top`, `doctor`, `fit`, `pull` and `run` read. A damaged file counts as an empty one. */
#ifndef PN_CLI_KEPT_H
#define PN_CLI_KEPT_H

#include "monitor/calibrate.h"

/* The limits of a device; NULL: those of the device that reads fastest. False: none are kept. */
bool pn_kept_limits(const char *device, struct pn_limits *out);
/* Replaces the device's limits. */
pantry_status pn_kept_put_limits(const struct pn_limits *limits, struct pantry_error *err);

enum { PN_KEPT_RUNS = 64 };
/* The runs, the newest last; returns how many. */
size_t pn_kept_runs(struct pn_run out[PN_KEPT_RUNS]);
/* Adds a run; it replaces one of the same model on the same device, or the oldest. */
pantry_status pn_kept_put_run(const struct pn_run *run, struct pantry_error *err);

/* Other programs compete for the processor, so that measurements are too low. *load: of the last minute. */
bool pn_kept_busy(double *load);

#endif
