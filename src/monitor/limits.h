/* What this machine reaches: measured once, kept, and used to predict the speed of models that were never run here. */
#ifndef PN_MONITOR_LIMITS_H
#define PN_MONITOR_LIMITS_H

#include "pantry.h"

#include <jansson.h>

struct pn_limits {
    char device[256];
    double read;          /* bytes per second, all threads together */
    double decode;        /* bytes of weights per second while a model decodes ... */
    double layer_seconds; /* ... and the time per layer and token that does not depend on bytes */
    double operations;    /* per second, while a prompt is read */
};

/* Measures with random weights, in about 10 s; needs 450 MB of TMPDIR. `progress` (may be NULL) gets a sentence before
 * each part. */
pantry_status pn_limits_measure(const struct pantry_model_options *options, void (*progress)(const char *what),
                                struct pn_limits *out, struct pantry_error *err);
/* As JSON and back. NULL: out of memory; false: something is missing or not a positive number. */
json_t *pn_limits_json(const struct pn_limits *limits);
bool pn_limits_read(const json_t *json, struct pn_limits *out);

#endif
