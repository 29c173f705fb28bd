/* Answers by name: see running.h. */
#include "server/running.h"

#include "base/status.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct pn_running *first;

static const char *or_empty(const char *text)
{
    return text ? text : "";
}

pantry_status pn_running_add(struct pn_running *r, const struct pn_exchange *x, const char *id,
                             struct pantry_error *err)
{
    *r = (struct pn_running){.end_thinking = pantry_cancel_new()};
    if (!r->end_thinking)
        return pn_no_memory(err, "an answer");
    snprintf(r->owner, sizeof r->owner, "%s", or_empty(pn_http_owner(x)));
    snprintf(r->name[0], sizeof r->name[0], "%s", or_empty(id));
    snprintf(r->name[1], sizeof r->name[1], "%s", or_empty(pn_http_header(x, "X-Request-Id")));
    pthread_mutex_lock(&lock);
    r->next = first;
    first = r;
    pthread_mutex_unlock(&lock);
    return PANTRY_OK;
}

void pn_running_remove(struct pn_running *r)
{
    pthread_mutex_lock(&lock);
    struct pn_running **at = &first;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    pthread_mutex_unlock(&lock);
    pantry_cancel_free(r->end_thinking);
}

int pn_running_end_thinking(const struct pn_exchange *x, const char *name)
{
    const char *owner = or_empty(pn_http_owner(x));
    int n = 0;
    pthread_mutex_lock(&lock);
    for (struct pn_running *r = first; r && *name; r = r->next)
        if (strcmp(r->owner, owner) == 0 && (strcmp(r->name[0], name) == 0 || strcmp(r->name[1], name) == 0)) {
            pantry_cancel_set(r->end_thinking);
            n++;
        }
    pthread_mutex_unlock(&lock);
    return n;
}
