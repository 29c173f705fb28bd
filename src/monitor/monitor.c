/* Watching the machine: see monitor.h. */
#include "monitor/monitor.h"

#include "base/clock.h"
#include "monitor/source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SOURCES = 16 };

struct pn_monitor {
    void *state[MAX_SOURCES];
    uint64_t last; /* when the last sample was taken; 0: none */
    char *root;
};

pantry_status pn_monitor_new(const char *root, struct pn_monitor **out, struct pantry_error *err)
{
    struct pn_monitor *m = *out = calloc(1, sizeof *m);
    size_t n = strlen(root) + 1;
    if (!m || !(m->root = malloc(n)))
        goto fail;
    memcpy(m->root, root, n);
    for (size_t i = 0; pn_sources[i]; i++)
        if (!(m->state[i] = pn_sources[i]->open(m->root)))
            goto fail;
    return PANTRY_OK;
fail:
    pn_monitor_free(m);
    *out = NULL;
    return pn_no_memory(err, "watching the machine");
}

void pn_monitor_take(struct pn_monitor *m, struct pn_sample *s)
{
    uint64_t now = pn_clock_ns();
    pn_sample_clear(s);
    if (m->last && now > m->last)
        s->seconds = (double)(now - m->last) * 1e-9;
    m->last = now;
    for (size_t i = 0; pn_sources[i]; i++)
        pn_sources[i]->read(m->state[i], s);
}

void pn_monitor_free(struct pn_monitor *m)
{
    if (!m)
        return;
    for (size_t i = 0; pn_sources[i]; i++)
        if (m->state[i])
            pn_sources[i]->close(m->state[i]);
    free(m->root);
    free(m);
}
