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
    const char *host;               /* an address, a name, or unix:PATH */
    uint16_t port;                  /* 0: any that is free */
    int fd;                         /* a socket that listens there already, or -1 */
    unsigned socket_mode;           /* of a unix socket, such as 0600 */
    const char *tls_cert, *tls_key; /* files; NULL: no TLS */
    struct pn_models_options models;
    int n_parallel;                /* most requests at the same time; more get 503. 0: 512 */
    int read_seconds;              /* how long a request may take to arrive, and a client not read; 0: 60 */
    int per_address;               /* most connections of one address */
    const char *const *origins;    /* web origins that may call besides this machine's, "*" for any; up to NULL */
    const char *const *registries; /* hosts that clients may pull from and push to besides known ones; up to NULL */
    const char *keys;              /* the file of the keys, which may change while the server runs */
    bool needs_key;                /* also where the file has no key; otherwise every caller may do everything then */
    const char *said;              /* the file of turns with tool calls (said.h); NULL: in memory only */
    bool quiet;                    /* no line per request */
    bool debug;                    /* a line where a model is loaded or unloaded */
    bool sandbox;                  /* give up rights that are not needed */
    const char *const *folders;    /* that may be read nevertheless, up to NULL */
    /* Called once the server listens. */
    void (*ready)(void *user, const char *url);
    void *user;
    const pantry_cancel *stop; /* ends the server */
    pantry_cancel *reload;     /* reads the settings and the certificate again, and is cleared; may be NULL */
    const char *config;        /* the file of the settings, which is read then; may be NULL */
    /* Reads the settings again: sets origins, registries, n_parallel, quiet, debug and models of *next, to what stays
     * until the server has ended. *report: which settings changed, for the log; the caller decrefs. After a failure all
     * stays as it is. May be NULL. */
    pantry_status (*reread)(void *user, struct pn_server_options *next, json_t **report, struct pantry_error *err);
};

/* Whether an address to listen on is this machine's alone. */
bool pn_server_is_local(const char *host);
/* A socket that systemd has passed: *fd, or -1, and the address it listens on. */
pantry_status pn_server_inherited(int *fd, char host[256], uint16_t *port, struct pantry_error *err);
/* Runs until options->stop is set, and then for the requests that are left, a few seconds at most. */
pantry_status pn_server_run(const struct pn_server_options *options, struct pantry_error *err);

/* ---- for the APIs ---- */

struct pn_server {
    struct pn_server_options options;
    struct pn_http *http;
    struct pn_models *models;
    struct pn_keys keys;                              /* of the thread that admits requests */
    _Atomic(const char *const *) origins, registries; /* these three may change while requests run */
    atomic_bool quiet;
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
/* Those whose body is a JSON array, up to NULL. */
extern pn_route_fn *const pn_list_handlers[];

/* Adds an answer to what /metrics shows. */
void pn_server_count(struct pn_server *server, const struct pantry_stats *stats);

#endif
