/* Predictions of speed, and what own runs (`pantry bench`) say about them: a prediction is corrected by the runs of
 * models like this one, and says how far it may be off. */
#ifndef PN_MONITOR_CALIBRATE_H
#define PN_MONITOR_CALIBRATE_H

#include "monitor/limits.h"

#include <stdbool.h>
#include <stddef.h>

/* What a model's speed depends on. */
struct pn_work {
    char model[128];   /* its name */
    char type[16];     /* the storage type of most of its weights */
    double bytes;      /* that a step of decoding reads: weights, keys and values */
    double multiplies; /* of its whole prompt */
    int n_layer, n_prompt;
};

/* A run that was measured. */
struct pn_run {
    struct pn_work work;
    char device[256];
    double step_seconds, prompt_seconds;
    bool busy; /* other programs were using the processor */
};

struct pn_prediction {
    double step_seconds, prompt_seconds; /* corrected */
    double step_error, prompt_error;     /* how far they may be off, as a share; of no runs: 0.5 */
    int n_runs;                          /* that they were corrected by; 0: none */
    char nearest[128];                   /* the model of the run that counted most */
};

/* Predicts with the limits, corrected by runs of the same device. A run counts the more, the nearer it is: in the
 * logarithms of bytes and of multiplications per token, and by its storage type. Runs beside other programs count only
 * where there are no others. */
void pn_predict(const struct pn_limits *limits, const struct pn_run *runs, size_t n, const struct pn_work *work,
                struct pn_prediction *out);

/* As JSON and back. NULL: out of memory; false: something is missing or out of range. */
json_t *pn_run_json(const struct pn_run *run);
bool pn_run_read(const json_t *json, struct pn_run *out);

#endif
