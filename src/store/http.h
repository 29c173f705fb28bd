/* HTTP requests of the store, over libcurl.
 *
 * What a server sends is not trusted: redirects are few, never from https to http, and only the registry itself gets
 * the token; headers and bodies are bounded; nothing is decompressed. PANTRY_CA_FILE or SSL_CERT_FILE names the
 * certificates that are trusted in place of the system's. */
#ifndef PN_STORE_HTTP_H
#define PN_STORE_HTTP_H

#include "base/alloc.h"
#include "store/store.h"

#include <curl/curl.h>
#include <signal.h>
#include <sys/socket.h>

/* What all requests of one pull share. */
struct pn_http {
    const char *origin;     /* "https://host:port": the only one that gets the token */
    char *token;            /* of the registry; NULL: none */
    bool plain;             /* http is allowed */
    bool public_only;       /* connect to no private address, and through no proxy */
    unsigned stall_seconds; /* a transfer without data for so long has failed */
    const pantry_cancel *cancel;
};

struct pn_http_head {
    long status;
    char etag[127];        /* "" without one, or if it is too long to be kept */
    char challenge[2048];  /* WWW-Authenticate, all values, separated by commas */
    uint64_t first, total; /* Content-Range */
    bool has_range;        /* it is valid */
    uint64_t length;       /* Content-Length */
    bool has_length;
    uint64_t last;        /* Range: the last byte of an upload that is there */
    bool has_last;        /* it is valid */
    uint64_t min_chunk;   /* OCI-Chunk-Min-Length */
    char location[4096];  /* "" without one, or if it is too long */
    char next[4096];      /* Link: where a list goes on; "" if it does not */
    char said[512];       /* the first bytes of the body of an error */
    unsigned retry_after; /* seconds, 0: not given */
};

struct pn_request;
/* Takes a piece of the body of a 2xx response, whose head is in the request; false ends the transfer. */
typedef bool pn_http_sink(void *user, struct pn_request *request, const char *bytes, size_t n);

/* What a request sends: GET and no body if the method is NULL. */
struct pn_http_body {
    const char *method;
    uint64_t bytes;
    /* Reads the bytes at `at` into `to`, all n of them; false: they cannot be read. */
    bool (*read)(void *user, uint64_t at, char *to, size_t n);
    void *user;
};

struct pn_request {
    const struct pn_http *http;
    struct pn_http_body body;
    uint64_t sent; /* bytes of it */
    CURL *easy;
    char *url; /* after redirects the last one */
    struct curl_slist *lines;
    pn_http_sink *sink;
    void *user;
    struct pn_http_head head;
    size_t head_bytes;
    int redirects;
    bool started; /* the body of a 2xx response began */
    char why[CURL_ERROR_SIZE];
};

/* Prepares libcurl, once per process. */
bool pn_http_init(void);

/* A TLS connection that breaks while libcurl writes would end the process by SIGPIPE. This thread holds the signal and
 * drops it afterwards. */
void pn_http_hold_signal(sigset_t *before);
void pn_http_release_signal(const sigset_t *before);

/* A new request for `url`, ready for curl_easy_perform or a multi handle. `lines`: additional header lines, NULL ends
 * them. Whatever it returns, pn_request_free must follow. */
pantry_status pn_request_open(struct pn_request *r, const struct pn_http *http, const char *url,
                              const char *const *lines, pn_http_sink *sink, void *user, struct pantry_error *err);
/* After a transfer: true if the response is a redirect that may be followed; the request is then ready for the next
 * one. A redirect that may not be followed is an error. */
pantry_status pn_request_redirect(struct pn_request *r, bool *again, struct pantry_error *err);
void pn_request_free(struct pn_request *r);

/* Gets a small text of at most `limit` bytes, with retries. Any HTTP status is a result: see head->status. */
pantry_status pn_http_get(const struct pn_http *http, const char *url, const char *accept, size_t limit,
                          struct pn_http_head *head, struct pn_buf *body, struct pantry_error *err);

/* One request with its redirects, and with a body if that is given. Any HTTP status is a result; a connection that
 * fails is PANTRY_IO. *code says how the transfer ended. `answer` gets the body of a 2xx response, up to its limit. */
pantry_status pn_http_call(const struct pn_http *http, const char *url, const struct pn_http_body *body,
                           const char *const *lines, struct pn_http_head *head, struct pn_buf *answer, CURLcode *code,
                           struct pantry_error *err);
/* The start of a file: its head, and `first` gets the first n bytes. PANTRY_FORMAT if it is shorter. */
pantry_status pn_http_peek(const struct pn_http *http, const char *url, char *first, size_t n,
                           struct pn_http_head *head, struct pantry_error *err);

/* An absolute address for one that a response gave. NULL: it is damaged, or memory is out. Caller frees. */
char *pn_http_resolve(const char *base, const char *location);
/* Do both have the same scheme, host and port? */
bool pn_http_same_origin(const char *a, const char *b);
/* "https://host:port" of a URL. NULL: it is damaged, has a user name, or memory is out. Caller frees. */
char *pn_http_origin(const char *url);

/* Will a later try of a request that failed like this one perhaps succeed? */
bool pn_http_may_retry(CURLcode code, long status);
/* Sleeps before try number `n` (1 is the second try): half a second, doubled each time. PANTRY_CANCELLED if stopped. */
pantry_status pn_http_pause(const struct pn_http *http, int n, unsigned retry_after, struct pantry_error *err);

/* Not an address of this machine, of a private network, or of many receivers. */
bool pn_http_is_public(const struct sockaddr *address);

/* "host", without port and brackets, of an http(s) URL, and whether it is https; false for anything else, also with a
 * user name. Caller frees *host. */
bool pn_http_host(const char *url, char **host, bool *https);

#endif
