/* The answers that are being made, by name, so that another request can reach one: it ends its reasoning.
 *
 * An answer has up to two names: the id that its reply carries, and the X-Request-Id that its request came with. */
#ifndef PN_SERVER_RUNNING_H
#define PN_SERVER_RUNNING_H

#include "server/http.h"

enum { PN_RUNNING_NAME = 128 }; /* characters of a name, at most; longer ones are cut */

struct pn_running {
    struct pn_running *next;
    char owner[PN_HTTP_OWNER + 1], name[2][PN_RUNNING_NAME + 1];
    pantry_cancel *end_thinking;
};

/* Adds the answer to `x`; `id` may be NULL. Once it is added, it must be removed. */
pantry_status pn_running_add(struct pn_running *running, const struct pn_exchange *x, const char *id,
                             struct pantry_error *err);
void pn_running_remove(struct pn_running *running);
/* Ends the reasoning of all answers with this name and the owner of `x`; how many there are. */
int pn_running_end_thinking(const struct pn_exchange *x, const char *name);

#endif
