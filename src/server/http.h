/* HTTP: connections, requests that have been read whole, and replies that handlers write from threads of their own.
 *
 * One thread of libmicrohttpd waits for all connections, so an idle or slow one costs no thread. A request whose body
 * is complete gets a thread, which may block: it writes the reply into a buffer that the waiting thread sends. A
 * handler whose client has left finds out at its next write or at pn_http_is_open. */
#ifndef PN_SERVER_HTTP_H
#define PN_SERVER_HTTP_H

#include "pantry.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PN_HTTP_OWNER = 64 }; /* characters, at most */

struct pn_http;     /* a server */
struct pn_exchange; /* a request and its reply */

struct pn_http_options {
    int fd;                         /* a socket that listens; the caller closes it after pn_http_stop */
    size_t max_body;                /* bytes */
    int max_requests;               /* with a thread at the same time; more get 503 */
    int max_seconds;                /* that a request may take to arrive, and a client not read */
    unsigned max_per_address;       /* connections */
    const char *tls_cert, *tls_key; /* files (PEM); NULL: no TLS */
    /* Called when the headers are there, on the waiting thread. False: it has replied. */
    bool (*admit)(void *user, struct pn_exchange *x);
    /* Called when the request is complete, on a thread of its own. Must reply; otherwise the client gets an error. */
    void (*handle)(void *user, struct pn_exchange *x);
    /* Called to reply to a request that is too large (413) or one too many (503), on the waiting thread. */
    void (*refuse)(void *user, struct pn_exchange *x, int status, const char *text);
    /* Called after a reply, on any thread: for the log. */
    void (*done)(void *user, const struct pn_exchange *x);
    void *user;
};

pantry_status pn_http_start(const struct pn_http_options *options, struct pn_http **out, struct pantry_error *err);
/* Reads certificate and key again, for new connections. After a failure the old ones stay. */
pantry_status pn_http_reload(struct pn_http *http, struct pantry_error *err);
/* Another bound for requests from now on. */
void pn_http_set_max_requests(struct pn_http *http, int n);
/* Takes no more connections, and waits up to `seconds` for the requests that run. */
void pn_http_drain(struct pn_http *http, int seconds);
/* Ends the requests that are left, and the server. */
void pn_http_stop(struct pn_http *http);
/* Requests with a thread. */
int pn_http_n_running(struct pn_http *http);

/* ---- the request ---- */

const char *pn_http_method(const struct pn_exchange *x);
const char *pn_http_path(const struct pn_exchange *x);                     /* decoded, without the query */
const char *pn_http_header(const struct pn_exchange *x, const char *name); /* NULL: it is not there */
const char *pn_http_query(const struct pn_exchange *x, const char *name);
const char *pn_http_body(const struct pn_exchange *x, size_t *len); /* a NUL after its length */
const char *pn_http_client(const struct pn_exchange *x);            /* the address */
/* The body goes to the handler as it arrives: called by admit. The handler starts with the headers and reads with
 * pn_http_read; pn_http_body is empty. */
void pn_http_stream_body(struct pn_exchange *x);
/* The size of such a body as its header gives it; 0: it does not. */
uint64_t pn_http_length(const struct pn_exchange *x);
/* The next bytes of a body that streams, at most `most`; waits for some. 0: its end; -1: the client has left. */
long pn_http_read(struct pn_exchange *x, char *to, size_t most);
/* Who asks, as admit has found out: requests of different owners share nothing. NULL: there are no keys. */
void pn_http_set_owner(struct pn_exchange *x, const char *owner);
const char *pn_http_owner(const struct pn_exchange *x);

/* ---- the reply ---- */

/* A header of the reply, before it begins. */
void pn_http_set_header(struct pn_exchange *x, const char *name, const char *value);
/* A whole reply. */
void pn_http_send(struct pn_exchange *x, int status, const char *type, const char *body, size_t len);
/* A reply in parts: begin, then write until the handler returns. */
void pn_http_begin(struct pn_exchange *x, int status, const char *type);
/* Waits while the client has much to read yet. False: it has left. */
bool pn_http_write(struct pn_exchange *x, const char *data, size_t len);
/* Whether the client is still there. */
bool pn_http_is_open(struct pn_exchange *x);
/* What was replied; 0: nothing yet. */
int pn_http_status(const struct pn_exchange *x);
uint64_t pn_http_bytes(const struct pn_exchange *x);
double pn_http_seconds(const struct pn_exchange *x);

#endif
