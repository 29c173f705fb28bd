/* HTTP over libmicrohttpd: see http.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "server/http.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/os.h"
#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netdb.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef POLLRDHUP /* elsewhere POLLHUP says so */
#define POLLRDHUP 0
#endif

enum {
    MAX_PEM = 1 << 20,    /* bytes of a certificate or key */
    MAX_UNREAD = 1 << 18, /* bytes of a reply that wait for the client, or of a body that streams for its handler */
    PROGRESS = 1 << 20,   /* bytes of such a body that give it new time to arrive */
    MAX_HEADERS = 64,     /* of a reply */
    MAX_CONNECTIONS = 8192,
    CONNECTION_MEMORY = 65536, /* bytes of headers */
    RELEASE_AFTER = 64         /* connections that may leave something worth giving back */
};

/* A connection whose request has not arrived yet. */
struct arrival {
    struct arrival *next, **at;
    int fd;
    uint64_t since; /* 0: a request has arrived, and its reply is in the making */
};

/* A daemon whose certificate was replaced: it ends with its last connection. */
struct retired {
    struct MHD_Daemon *daemon;
    int fd;
    struct retired *next;
};

struct pn_http {
    struct pn_http_options options;
    struct MHD_Daemon *daemon;
    int fd; /* of a daemon that takes no more connections, else -1: then the daemon closes its own */
    struct retired *retired;
    char *cert, *key; /* of the daemon, as text */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int n_running; /* handlers */
    int n_open;    /* exchanges whose reply has not been sent to its end */
    bool stopping;
    struct pn_exchange *running;
    struct arrival *arrivals;
    unsigned n_ended; /* connections since the daemon's thread gave back what it keeps */
    pthread_t reaper;
    bool has_reaper;
};

struct pn_exchange {
    struct pn_http *http;
    struct MHD_Connection *connection;
    struct pn_exchange *next, **at; /* among those that run */
    char *path, *method;
    char client[64];
    char owner[PN_HTTP_OWNER + 1]; /* "": nobody in particular */
    struct pn_buf body;
    uint64_t began;
    bool refused;            /* a reply was given before the body */
    uint64_t length;         /* of a body that streams */
    bool streams;            /* the body goes to the handler as it arrives; the next three are under the lock */
    bool arrived;            /* all of it */
    size_t taken;            /* bytes of `body` that the handler has read */
    uint64_t since_progress; /* bytes since the connection got new time */
    bool started;            /* a handler was */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    int n_owners; /* the connection and the handler's thread */
    struct pn_buf out;
    size_t sent; /* bytes of `out` */
    uint64_t total;
    int status;
    struct MHD_Response *response; /* ready, not queued yet */
    char *headers[MAX_HEADERS][2];
    int n_headers;
    bool waits; /* the connection is suspended */
    bool asked; /* the response is wanted as soon as it is there */
    bool ended; /* the handler writes no more */
    bool left;  /* the client is gone, or the server stops */
    bool gone;  /* the connection has ended: nobody would queue a response */
};

/* ---- life of an exchange ---- */

static struct pn_exchange *exchange_new(struct pn_http *http, struct MHD_Connection *c, const char *path,
                                        const char *method)
{
    struct pn_exchange *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    *x = (struct pn_exchange){.http = http, .connection = c, .n_owners = 1, .began = pn_clock_ns()};
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->changed, NULL);
    x->path = strdup(path);
    x->method = strdup(method);
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    snprintf(x->client, sizeof x->client, "unix");
    if (info && info->client_addr && info->client_addr->sa_family != AF_UNIX)
        getnameinfo(info->client_addr,
                    info->client_addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in),
                    x->client, sizeof x->client, NULL, 0, NI_NUMERICHOST);
    return x;
}

static void exchange_drop(struct pn_exchange *x)
{
    pthread_mutex_lock(&x->lock);
    bool last = --x->n_owners == 0;
    pthread_mutex_unlock(&x->lock);
    if (!last)
        return;
    for (int i = 0; i < x->n_headers; i++) {
        free(x->headers[i][0]);
        free(x->headers[i][1]);
    }
    if (x->response)
        MHD_destroy_response(x->response);
    pn_buf_free(&x->body);
    pn_buf_free(&x->out);
    free(x->path);
    free(x->method);
    pthread_cond_destroy(&x->changed);
    pthread_mutex_destroy(&x->lock);
    free(x);
}

/* The connection has something to do. Under the lock. */
static void wake(struct pn_exchange *x)
{
    if (x->waits) {
        x->waits = false;
        MHD_resume_connection(x->connection);
    }
}

/* ---- the reply, as handlers write it ---- */

void pn_http_set_header(struct pn_exchange *x, const char *name, const char *value)
{
    if (x->n_headers == MAX_HEADERS)
        return;
    x->headers[x->n_headers][0] = strdup(name);
    x->headers[x->n_headers++][1] = strdup(value);
}

/* A stream begins at once; a whole reply goes when the handler has ended, so that the next request finds its place
 * free.
 */
static void set_response(struct pn_exchange *x, int status, const char *type, struct MHD_Response *response, bool now)
{
    if (!response)
        return;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    for (int i = 0; i < x->n_headers; i++)
        if (x->headers[i][0] && x->headers[i][1])
            MHD_add_response_header(response, x->headers[i][0], x->headers[i][1]);
    pthread_mutex_lock(&x->lock);
    bool gone = x->gone;
    x->status = status;
    x->response = gone ? NULL : response;
    if (now)
        wake(x);
    pthread_mutex_unlock(&x->lock);
    if (gone)
        MHD_destroy_response(response);
}

void pn_http_send(struct pn_exchange *x, int status, const char *type, const char *body, size_t len)
{
    x->total += len;
    set_response(x, status, type, MHD_create_response_from_buffer(len, (void *)(uintptr_t)body, MHD_RESPMEM_MUST_COPY),
                 false);
}

/* Hands the next bytes to the connection; suspends it where there are none. */
static ssize_t give(void *user, uint64_t position, char *to, size_t max)
{
    struct pn_exchange *x = user;
    (void)position;
    pthread_mutex_lock(&x->lock);
    size_t n = x->out.len - x->sent;
    ssize_t given = 0;
    if (x->left) {
        given = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (n) {
        n = n < max ? n : max;
        memcpy(to, x->out.data + x->sent, n);
        x->sent += n;
        if (x->sent == x->out.len) {
            pn_buf_clear(&x->out);
            x->sent = 0;
        }
        given = (ssize_t)n;
        pthread_cond_broadcast(&x->changed);
    } else if (x->ended) {
        given = x->out.failed ? MHD_CONTENT_READER_END_WITH_ERROR : MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        x->waits = true;
        MHD_suspend_connection(x->connection);
    }
    pthread_mutex_unlock(&x->lock);
    return given;
}

static void given(void *user)
{
    exchange_drop(user);
}

void pn_http_begin(struct pn_exchange *x, int status, const char *type)
{
    pthread_mutex_lock(&x->lock);
    x->n_owners++; /* the response */
    pthread_mutex_unlock(&x->lock);
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, give, x, given);
    if (!response)
        exchange_drop(x);
    pn_http_set_header(x, "Cache-Control", "no-cache");
    set_response(x, status, type, response, true);
}

bool pn_http_write(struct pn_exchange *x, const char *data, size_t len)
{
    pthread_mutex_lock(&x->lock);
    while (!x->left && x->out.len - x->sent > MAX_UNREAD)
        pthread_cond_wait(&x->changed, &x->lock);
    bool open = !x->left;
    if (open) {
        pn_buf_append(&x->out, data, len);
        x->total += len;
        wake(x);
    }
    open = open && !x->out.failed;
    pthread_mutex_unlock(&x->lock);
    return open;
}

/* A suspended connection is not watched, so the socket itself is asked whether it was closed. With TLS there are bytes
 * before its end. */
bool pn_http_is_open(struct pn_exchange *x)
{
    pthread_mutex_lock(&x->lock);
    if (!x->left) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct pollfd p = {.fd = info ? info->connect_fd : -1, .events = POLLIN | POLLRDHUP};
        if (!info || (poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL))))
            x->left = true;
        if (x->left)
            wake(x); /* so that the connection is closed */
    }
    bool open = !x->left;
    pthread_mutex_unlock(&x->lock);
    return open;
}

int pn_http_status(const struct pn_exchange *x)
{
    return x->status;
}

uint64_t pn_http_bytes(const struct pn_exchange *x)
{
    return x->total;
}

double pn_http_seconds(const struct pn_exchange *x)
{
    return (double)(pn_clock_ns() - x->began) * 1e-9;
}

/* ---- the request ---- */

const char *pn_http_method(const struct pn_exchange *x)
{
    return x->method;
}

const char *pn_http_path(const struct pn_exchange *x)
{
    return x->path;
}

const char *pn_http_header(const struct pn_exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

const char *pn_http_query(const struct pn_exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_GET_ARGUMENT_KIND, name);
}

const char *pn_http_body(const struct pn_exchange *x, size_t *len)
{
    bool whole = !x->streams && x->body.data;
    *len = whole ? x->body.len : 0;
    return whole ? x->body.data : "";
}

const char *pn_http_client(const struct pn_exchange *x)
{
    return x->client;
}

void pn_http_stream_body(struct pn_exchange *x)
{
    const char *length = pn_http_header(x, MHD_HTTP_HEADER_CONTENT_LENGTH);
    x->streams = true;
    x->length = length ? strtoull(length, NULL, 10) : 0;
}

uint64_t pn_http_length(const struct pn_exchange *x)
{
    return x->length;
}

long pn_http_read(struct pn_exchange *x, char *to, size_t most)
{
    pthread_mutex_lock(&x->lock);
    while (!x->left && !x->arrived && x->taken == x->body.len && !x->body.failed)
        pthread_cond_wait(&x->changed, &x->lock);
    size_t n = x->body.len - x->taken;
    long given = x->left || x->body.failed ? -1 : (long)(n < most ? n : most);
    if (given > 0) {
        memcpy(to, x->body.data + x->taken, (size_t)given);
        x->taken += (size_t)given;
        if (x->taken == x->body.len) {
            pn_buf_clear(&x->body);
            x->taken = 0;
            wake(x);                         /* there is room again */
        } else if (x->taken >= MAX_UNREAD) { /* a client that is always ahead must not make the buffer grow */
            memmove(x->body.data, x->body.data + x->taken, x->body.len - x->taken);
            x->body.len -= x->taken;
            x->taken = 0;
        }
    }
    pthread_mutex_unlock(&x->lock);
    return given;
}

void pn_http_set_owner(struct pn_exchange *x, const char *owner)
{
    snprintf(x->owner, sizeof x->owner, "%s", owner);
}

const char *pn_http_owner(const struct pn_exchange *x)
{
    return x->owner[0] ? x->owner : NULL;
}

/* ---- the handler's thread ---- */

static void remove_running(struct pn_exchange *x)
{
    struct pn_http *http = x->http;
    pthread_mutex_lock(&http->lock);
    *x->at = x->next;
    if (x->next)
        x->next->at = x->at;
    pthread_cond_broadcast(&http->changed);
    pthread_mutex_unlock(&http->lock);
}

/* The place of the handler is free. */
static void give_place(struct pn_http *http)
{
    pthread_mutex_lock(&http->lock);
    http->n_running--;
    pthread_mutex_unlock(&http->lock);
}

static void *run(void *user)
{
    static const char nothing[] = "{\"error\":\"no reply\"}";
    struct pn_exchange *x = user;
    struct pn_http *http = x->http;
    http->options.handle(http->options.user, x);
    if (!x->status)
        pn_http_send(x, 500, "application/json", nothing, sizeof nothing - 1);
    if (http->options.done)
        http->options.done(http->options.user, x);
    give_place(http);
    pthread_mutex_lock(&x->lock);
    x->ended = true;
    wake(x);
    pthread_mutex_unlock(&x->lock);
    remove_running(x);
    exchange_drop(x);
    return NULL;
}

/* Starts the handler, and suspends the connection until it has a reply unless the body streams. False: there are too
 * many. */
static bool start(struct pn_exchange *x)
{
    struct pn_http *http = x->http;
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_mutex_lock(&http->lock);
    bool ok = !http->stopping && http->n_running < http->options.max_requests;
    if (ok) {
        http->n_running++;
        http->n_open += !x->started;
        x->started = true;
        x->at = &http->running;
        x->next = http->running;
        if (x->next)
            x->next->at = &x->next;
        http->running = x;
    }
    pthread_mutex_unlock(&http->lock);
    if (!ok)
        return false;
    x->n_owners++;
    if (!x->streams) {
        x->waits = true;
        MHD_suspend_connection(x->connection);
    }
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    ok = pthread_create(&thread, &attributes, run, x) == 0;
    pthread_attr_destroy(&attributes);
    if (!ok) {
        give_place(http);
        remove_running(x);
        x->n_owners--;
        wake(x);
    }
    return ok;
}

/* ---- connections ---- */

/* From now on the connection waits for a request or a body, or for nothing. */
static void set_arrival(struct pn_http *http, struct MHD_Connection *c, bool arriving)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct arrival *a = info ? info->socket_context : NULL;
    pthread_mutex_lock(&http->lock);
    if (a)
        a->since = arriving ? pn_clock_ns() : 0;
    pthread_mutex_unlock(&http->lock);
}

static enum MHD_Result queue(struct pn_exchange *x)
{
    struct MHD_Response *response = x->response;
    x->response = NULL;
    enum MHD_Result result = MHD_queue_response(x->connection, (unsigned)x->status, response);
    MHD_destroy_response(response);
    return result;
}

static void send_busy(struct pn_exchange *x)
{
    pn_http_set_header(x, "Retry-After", "1");
    x->http->options.refuse(x->http->options.user, x, 503,
                            "server busy, please try again: maximum pending requests exceeded");
}

static void send_too_large(struct pn_exchange *x)
{
    x->http->options.refuse(x->http->options.user, x, 413, "the request is too large");
}

static enum MHD_Result reply_now(struct pn_exchange *x)
{
    x->refused = true;
    if (x->http->options.done)
        x->http->options.done(x->http->options.user, x);
    return queue(x);
}

static bool body_fits(const struct pn_exchange *x)
{
    const char *length = pn_http_header(x, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return !length || strtoull(length, NULL, 10) <= x->http->options.max_body;
}

static enum MHD_Result refuse_body(struct pn_exchange *x)
{
    send_too_large(x);
    return reply_now(x);
}

/* A part of a body that streams. Where the handler is slower, the connection waits, and the part comes again. */
static void take_part(struct pn_exchange *x, const char *upload, size_t *upload_size)
{
    pthread_mutex_lock(&x->lock);
    if (x->ended || x->refused) {
        *upload_size = 0; /* the rest is dropped, as no reply may come before it */
    } else if (x->body.len - x->taken < MAX_UNREAD) {
        pn_buf_append(&x->body, upload, *upload_size);
        x->since_progress += *upload_size;
        *upload_size = 0;
        pthread_cond_broadcast(&x->changed);
    } else {
        x->waits = true;
        MHD_suspend_connection(x->connection);
    }
    bool progress = x->since_progress >= PROGRESS;
    x->since_progress = progress ? 0 : x->since_progress;
    pthread_mutex_unlock(&x->lock);
    if (progress)
        set_arrival(x->http, x->connection, true);
}

/* The end of a body that streams: the connection waits for the reply. False: it is there. */
static bool end_stream(struct pn_exchange *x)
{
    pthread_mutex_lock(&x->lock);
    bool waits = !x->ended && !x->left;
    x->arrived = true;
    if (waits && !x->response) {
        x->waits = true;
        MHD_suspend_connection(x->connection);
    }
    waits = waits && !x->response;
    pthread_cond_broadcast(&x->changed);
    pthread_mutex_unlock(&x->lock);
    return waits;
}

static enum MHD_Result start_stream(struct pn_exchange *x)
{
    if (start(x))
        return MHD_YES;
    send_busy(x);
    return reply_now(x);
}

/* Called for the headers, for each part of the body, at its end, and when a suspended connection goes on. */
static enum MHD_Result on_access(void *user, struct MHD_Connection *c, const char *url, const char *method,
                                 const char *version, const char *upload, size_t *upload_size, void **context)
{
    struct pn_http *http = user;
    struct pn_exchange *x = *context;
    (void)version;
    if (!x) {
        if (!(*context = x = exchange_new(http, c, url, method)) || !x->path || !x->method)
            return MHD_NO;
        set_arrival(http, c, true);
        if (!http->options.admit(http->options.user, x))
            return reply_now(x);
        if (x->streams)
            return start_stream(x);
        return body_fits(x) ? MHD_YES : refuse_body(x);
    }
    if (*upload_size && x->streams) {
        take_part(x, upload, upload_size);
        return MHD_YES;
    }
    if (*upload_size) {
        if (!x->refused && x->body.len + *upload_size > http->options.max_body) {
            send_too_large(x);
            x->refused = true; /* the rest is read and dropped, as no reply may come before it */
            pn_buf_free(&x->body);
        } else if (!x->refused) {
            pn_buf_append(&x->body, upload, *upload_size);
        }
        *upload_size = 0;
        return x->body.failed ? MHD_NO : MHD_YES;
    }
    set_arrival(http, c, false);
    if (x->streams && !x->refused && end_stream(x))
        return MHD_YES;
    pthread_mutex_lock(&x->lock);
    bool ready = x->response != NULL;
    pthread_mutex_unlock(&x->lock);
    if (ready)
        return x->refused ? reply_now(x) : queue(x);
    if (x->left)
        return MHD_NO;
    if (!start(x)) {
        send_busy(x);
        return reply_now(x);
    }
    return MHD_YES;
}

static void on_completed(void *user, struct MHD_Connection *c, void **context, enum MHD_RequestTerminationCode code)
{
    struct pn_exchange *x = *context;
    struct pn_http *http = user;
    (void)code;
    set_arrival(http, c, true);
    if (!x)
        return;
    pthread_mutex_lock(&http->lock);
    http->n_open -= x->started;
    pthread_cond_broadcast(&http->changed);
    pthread_mutex_unlock(&http->lock);
    pthread_mutex_lock(&x->lock);
    struct MHD_Response *unsent = x->response; /* owns the exchange too, if it is a stream */
    x->response = NULL;
    x->left = x->gone = true;
    x->waits = false;
    pthread_cond_broadcast(&x->changed);
    pthread_mutex_unlock(&x->lock);
    if (unsent)
        MHD_destroy_response(unsent);
    *context = NULL;
    exchange_drop(x);
}

static void on_connection(void *user, struct MHD_Connection *c, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct pn_http *http = user;
    struct arrival *a = *context;
    bool idle = false;
    pthread_mutex_lock(&http->lock);
    if (code == MHD_CONNECTION_NOTIFY_STARTED && (a = calloc(1, sizeof *a))) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
        *a = (struct arrival){.fd = info ? info->connect_fd : -1, .since = pn_clock_ns(), .at = &http->arrivals};
        a->next = http->arrivals;
        if (a->next)
            a->next->at = &a->next;
        http->arrivals = *context = a;
    } else if (code == MHD_CONNECTION_NOTIFY_CLOSED && a) {
        *a->at = a->next;
        if (a->next)
            a->next->at = a->at;
        free(a);
        *context = NULL;
        idle = ++http->n_ended >= RELEASE_AFTER && !http->arrivals;
        http->n_ended = idle ? 0 : http->n_ended;
    }
    pthread_mutex_unlock(&http->lock);
    if (idle)
        pn_os_release_thread();
}

/* `fd`: what quiescing it gave, or -1. The daemon's thread may watch it until then. */
static void stop_daemon(struct MHD_Daemon *daemon, int fd)
{
    MHD_stop_daemon(daemon);
    if (fd >= 0)
        close(fd);
}

/* A daemon without connections, off the list; NULL: there is none. Under the lock. */
static struct retired *take_retired(struct pn_http *http)
{
    for (struct retired **at = &http->retired; *at; at = &(*at)->next) {
        const union MHD_DaemonInfo *info = MHD_get_daemon_info((*at)->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
        if (!info || info->num_connections == 0) {
            struct retired *r = *at;
            *at = r->next;
            return r;
        }
    }
    return NULL;
}

/* Closes connections whose request takes too long to arrive, whether or not something comes now and then. */
static void *reap(void *user)
{
    struct pn_http *http = user;
    uint64_t most = (uint64_t)http->options.max_seconds * 1000000000u;
    pthread_mutex_lock(&http->lock);
    while (!http->stopping) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        pthread_cond_timedwait(&http->changed, &http->lock, &until);
        uint64_t now = pn_clock_ns();
        for (struct arrival *a = http->arrivals; a; a = a->next)
            if (a->since && now - a->since > most)
                shutdown(a->fd, SHUT_RDWR);
        for (struct retired *r; (r = take_retired(http)); free(r)) {
            pthread_mutex_unlock(&http->lock); /* its thread may want it before it ends */
            stop_daemon(r->daemon, r->fd);
            pthread_mutex_lock(&http->lock);
        }
    }
    pthread_mutex_unlock(&http->lock);
    return NULL;
}

/* ---- the server ---- */

/* A NUL would end the path for us, but not for others. */
static size_t unescape(void *user, struct MHD_Connection *c, char *text)
{
    (void)user;
    (void)c;
    size_t n = MHD_http_unescape(text);
    for (size_t i = 0; i < n; i++)
        if (!text[i])
            text[i] = '?';
    return n;
}

/* A connection is a descriptor, and the usual limit of 1,024 is less than the connections that may wait. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= MAX_CONNECTIONS + 256)
        return;
    limit.rlim_cur = limit.rlim_max < MAX_CONNECTIONS + 256 ? limit.rlim_max : MAX_CONNECTIONS + 256;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static pantry_status read_pem(const char *path, char **out, struct pantry_error *err)
{
    size_t n;
    return pn_file_read(path, MAX_PEM, out, &n, err);
}

/* Whether a certificate and its key are right. A daemon that does not start for them leaves its socket dead, so one
 * without a socket finds out. */
static bool try_tls(const struct MHD_OptionItem *tls)
{
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_TLS | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC;
    struct MHD_Daemon *probe =
        MHD_start_daemon(flags, 0, NULL, NULL, on_access, NULL, MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
    if (probe)
        MHD_stop_daemon(probe);
    return probe != NULL;
}

/* Starts a daemon on the socket, with the current certificate. The daemon gets a duplicate of the descriptor, and
 * closes it when it ends or fails to start. */
static pantry_status start_daemon(struct pn_http *http, struct MHD_Daemon **out, char **cert, char **key,
                                  struct pantry_error *err)
{
    const struct pn_http_options *o = &http->options;
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_AUTO;
    struct MHD_OptionItem tls[3] = {{MHD_OPTION_END, 0, NULL}};
    pantry_status status = PANTRY_OK;
    *cert = *key = NULL;
    if (o->tls_cert) {
        if (MHD_is_feature_supported(MHD_FEATURE_TLS) != MHD_YES)
            return pn_fail(err, PANTRY_UNSUPPORTED,
                           "--tls-cert: the libmicrohttpd of this machine was built without TLS");
        if ((status = read_pem(o->tls_cert, cert, err)) || (status = read_pem(o->tls_key, key, err)))
            return status;
        flags |= MHD_USE_TLS;
        tls[0] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, *cert};
        tls[1] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, *key};
        tls[2] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
        if (!try_tls(tls))
            return pn_fail(err, PANTRY_INVALID, "%s, %s: not a certificate and its private key (PEM)", o->tls_cert,
                           o->tls_key);
    }
    *out = MHD_start_daemon(
        flags, 0, NULL, NULL, on_access, http, MHD_OPTION_LISTEN_SOCKET, o->fd, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, http, MHD_OPTION_NOTIFY_CONNECTION, on_connection, http, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)MAX_CONNECTIONS, MHD_OPTION_PER_IP_CONNECTION_LIMIT, o->max_per_address,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)o->max_seconds, MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
    return *out ? PANTRY_OK : pn_fail(err, PANTRY_IO, "cannot start the server: %s", strerror(errno));
}

static void drop_pem(char *cert, char *key)
{
    if (key)
        OPENSSL_cleanse(key, strlen(key));
    free(key);
    free(cert);
}

pantry_status pn_http_start(const struct pn_http_options *options, struct pn_http **out, struct pantry_error *err)
{
    struct pn_http *http = calloc(1, sizeof *http);
    *out = NULL;
    if (!http)
        return pn_no_memory(err, "a server");
    *http = (struct pn_http){.options = *options, .fd = -1};
    pthread_mutex_init(&http->lock, NULL);
    pthread_cond_init(&http->changed, NULL);
    raise_descriptors();
    *out = http; /* handlers may run before this returns */
    pantry_status status = start_daemon(http, &http->daemon, &http->cert, &http->key, err);
    if (!status && !(http->has_reaper = pthread_create(&http->reaper, NULL, reap, http) == 0))
        status = pn_fail(err, PANTRY_IO, "cannot start a thread of the server");
    if (status) {
        pn_http_stop(http);
        *out = NULL;
    }
    return status;
}

/* Certificates belong to daemons, so a new one takes the socket over, and the old one serves what it has. */
pantry_status pn_http_reload(struct pn_http *http, struct pantry_error *err)
{
    struct MHD_Daemon *daemon = NULL;
    char *cert, *key;
    struct retired *r = calloc(1, sizeof *r);
    pantry_status status = r ? start_daemon(http, &daemon, &cert, &key, err) : pn_no_memory(err, "a server");
    if (!r || status) {
        if (r)
            drop_pem(cert, key);
        free(r);
        return status;
    }
    int fd = MHD_quiesce_daemon(http->daemon);
    pthread_mutex_lock(&http->lock);
    *r = (struct retired){http->daemon, fd, http->retired};
    http->retired = r;
    http->daemon = daemon;
    pthread_mutex_unlock(&http->lock);
    drop_pem(http->cert, http->key);
    http->cert = cert;
    http->key = key;
    return PANTRY_OK;
}

void pn_http_set_max_requests(struct pn_http *http, int n)
{
    pthread_mutex_lock(&http->lock);
    http->options.max_requests = n;
    pthread_mutex_unlock(&http->lock);
}

int pn_http_n_running(struct pn_http *http)
{
    pthread_mutex_lock(&http->lock);
    int n = http->n_running;
    pthread_mutex_unlock(&http->lock);
    return n;
}

void pn_http_drain(struct pn_http *http, int seconds)
{
    struct timespec until;
    if (http->daemon)
        http->fd = MHD_quiesce_daemon(http->daemon);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += seconds;
    pthread_mutex_lock(&http->lock);
    while (http->n_open && pthread_cond_timedwait(&http->changed, &http->lock, &until) != ETIMEDOUT)
        ;
    pthread_mutex_unlock(&http->lock);
}

/* All clients count as gone, so handlers return soon. */
static void end_running(struct pn_http *http)
{
    pthread_mutex_lock(&http->lock);
    http->stopping = true;
    pthread_cond_broadcast(&http->changed);
    for (struct pn_exchange *x = http->running; x; x = x->next) {
        pthread_mutex_lock(&x->lock);
        x->left = true;
        wake(x);
        pthread_cond_broadcast(&x->changed);
        pthread_mutex_unlock(&x->lock);
    }
    while (http->running)
        pthread_cond_wait(&http->changed, &http->lock);
    pthread_mutex_unlock(&http->lock);
}

void pn_http_stop(struct pn_http *http)
{
    if (!http)
        return;
    end_running(http);
    if (http->has_reaper)
        pthread_join(http->reaper, NULL);
    if (http->daemon)
        stop_daemon(http->daemon, http->fd);
    for (struct retired *r = http->retired, *next; r; r = next) {
        next = r->next;
        stop_daemon(r->daemon, r->fd);
        free(r);
    }
    drop_pem(http->cert, http->key);
    pthread_cond_destroy(&http->changed);
    pthread_mutex_destroy(&http->lock);
    free(http);
}
