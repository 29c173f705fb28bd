/* The service: one process that answers Ollama's, OpenAI's and Anthropic's APIs.
 *
 * http.c reads requests, guard.c says which may come in, server.c finds the route, and each API has a file below api/
 * that reads its own fields, calls answer.c, and writes its own replies. */
#ifndef PN_SERVER_SERVER_H
#define PN_SERVER_SERVER_H

#include "server/http.h"
#include "server/json.h"
#include "server/keys.h"
#include "server/models.h"
#include "server/reply.h"

#include <stdatomic.h>

struct pn_server_options {
    const char *host; /* an address or a name */
    uint16_t port;    /* 0: any that is free */
    struct pn_models_options models;
    int n_parallel;                /* most requests at the same time; more get 503. 0: 512 */
    int read_seconds;              /* how long a request may take to arrive; 0: 60 */
    const char *const *origins;    /* web origins that may call besides this machine's, "*" for any; up to NULL */
    const char *const *registries; /* hosts that clients may pull from and push to besides the well-known ones */
    size_t n_registries;
    const char *keys; /* the file of the keys, which may change while the server runs */
    bool needs_key;   /* also where the file has no key; otherwise every caller may do everything then */
    const char *said; /* the file of turns with tool calls (said.h); NULL: in memory only */
    bool quiet;       /* no line per request */
    /* Called once the server listens. */
    void (*ready)(void *user, const char *url);
    void *user;
    const pantry_cancel *stop; /* ends the server */
};

/* Whether an address to listen on is this machine's alone. */
bool pn_server_is_local(const char *host);
/* Runs until options->stop is set, and then for the requests that are left, a few seconds at most. */
pantry_status pn_server_run(const struct pn_server_options *options, struct pantry_error *err);

/* ---- for the APIs ---- */

struct pn_server {
    struct pn_server_options options;
    struct pn_http *http;
    struct pn_models *models;
    struct pn_keys keys; /* of the thread that admits requests */
    uint64_t started;
    atomic_uint_fast64_t n_requests, n_failed, n_prompt, n_cached, n_generated;
};

/* `body` is the request's JSON object (NULL for GET, and for DELETE without one); `tail` what follows a route that ends
 * in "/". */
typedef void pn_route_fn(struct pn_server *server, struct pn_exchange *x, json_t *body, const char *tail);

struct pn_route {
    const char *method, *path;
    pn_route_fn *handle;
    enum pn_error_style errors;
    enum pn_scope scope; /* what a key must allow */
};

/* All routes; a NULL method ends the table. */
extern const struct pn_route pn_routes[];
/* The handlers that read the body, whatever it is, as it arrives (pn_http_read), up to NULL. */
extern pn_route_fn *const pn_streaming_handlers[];

/* Adds an answer to what /metrics shows. */
void pn_server_count(struct pn_server *server, const struct pantry_stats *stats);

#endif
