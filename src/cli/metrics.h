/* Reads Prometheus' text format (version 0.0.4), as /metrics sends it. What a service sends is not trusted: lines of
 * another form are left out. */
#ifndef PN_CLI_METRICS_H
#define PN_CLI_METRICS_H

#include <stdbool.h>

struct pn_metric {
    char name[64];
    char model[128]; /* the value of the label "model", cut; "": none. Control characters become '?' */
    double value;    /* finite */
};

/* The next sample of *text, which moves on; false at the end. */
bool pn_metrics_next(const char **text, struct pn_metric *out);

#endif
