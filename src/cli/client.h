/* A client of a service: finds it, sends one call at a time, and reads replies as they arrive.
 *
 * What a service sends is not trusted: replies are bounded, and redirects are not followed, so the key goes nowhere
 * else. */
#ifndef PN_CLI_CLIENT_H
#define PN_CLI_CLIENT_H

#include "cli/address.h"
#include "cli/ndjson.h"
#include "pantry.h"

#include <jansson.h>
#include <stdio.h>

struct pn_client {
    char url[PN_URL_MAX]; /* without a slash at its end */
    const char *key;      /* PANTRY_API_KEY; NULL: none */
    bool given;           /* PANTRY_HOST names it */
    bool local;           /* it is on this machine */
    bool pantry;          /* it is pantry, and not another service that speaks Ollama's API */
};

enum pn_presence { PN_SERVICE_ABSENT, PN_SERVICE_RUNS, PN_SERVICE_BROKEN };

/* Fills *client with the address in PANTRY_HOST or OLLAMA_HOST, or the default one, and asks whether pantry answers
 * there. Where PANTRY_HOST names it, any service that answers will do, and one on another machine must answer.
 * PN_SERVICE_BROKEN: *err says why. */
enum pn_presence pn_client_find(struct pn_client *client, struct pantry_error *err);
/* The service that must be there; reports errors, returns PN_CLI_GO_ON or an exit status. */
int pn_client_need(struct pn_client *client);
/* For commands about models: *elsewhere says whether PANTRY_HOST or OLLAMA_HOST names a service on another machine,
 * whose models are meant. One on this machine has the models of the own store. Reports errors, returns PN_CLI_GO_ON or
 * an exit status. */
int pn_client_elsewhere(struct pn_client *client, bool *elsewhere);

struct pn_call {
    const char *method, *path;
    const json_t *body;                       /* NULL: none */
    FILE *file;                               /* what is sent in place of it, from its start, ... */
    uint64_t file_bytes;                      /* ... so many bytes; ... */
    void (*sent)(void *user, uint64_t bytes); /* ... this hears how many are sent, from time to time; may be NULL */
    pn_ndjson_sink *sink;                     /* takes each object of the reply: one, or one per line of a stream */
    void *user;
    const char *name;            /* by which the service knows the call (X-Request-Id); NULL: none */
    const pantry_cancel *cancel; /* may be NULL; then the service ends what it does for the call */
    long status;                 /* of HTTP, afterwards; 0: no reply */
};

/* PANTRY_OK also where the sink wanted no more. PANTRY_CANCELLED; PANTRY_NOT_FOUND: HTTP's 404; PANTRY_INVALID: other
 * refusals (4xx); PANTRY_IO: no connection, the connection broke, or HTTP's 5xx. The error is the service's own text
 * where it sent one, also in the middle of a stream. */
pantry_status pn_client_call(const struct pn_client *client, struct pn_call *call, struct pantry_error *err);

/* One call with one object as reply, which Ctrl-C ends where pn_term_watch was called; takes `body` over. Caller frees
 * *reply. */
pantry_status pn_client_ask(const struct pn_client *client, const char *method, const char *path, json_t *body,
                            json_t **reply, long *http_status, struct pantry_error *err);
/* A reply as text, such as /metrics, which must come within `milliseconds` (0: any time); `cancel` (may be NULL) ends
 * the call. Caller frees *text. */
pantry_status pn_client_text(const struct pn_client *client, const char *path, long milliseconds,
                             const pantry_cancel *cancel, char **text, long *http_status, struct pantry_error *err);
/* Reports an error of a call, and what to do about a refused key; returns PN_EXIT_FAILED. */
int pn_client_fail(const struct pn_client *client, long http_status, const struct pantry_error *err);
int pn_client_advise(const struct pn_client *client, long http_status); /* the latter alone */

#endif
